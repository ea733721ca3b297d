"""Classification by frozen features: k-NN and linear, after DINO's official scripts."""

"""Semantic and instance segmentation, whatever model does it: data, crops, predictions, scores."""

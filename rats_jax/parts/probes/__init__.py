"""Dense probes: how well the patches of a frozen backbone predict the class of each pixel."""

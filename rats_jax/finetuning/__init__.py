"""The work of `rats finetune`: training a backbone for segmentation."""

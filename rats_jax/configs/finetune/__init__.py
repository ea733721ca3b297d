"""The recipes of `rats finetune`: one file each, whose get_config() starts from
`rats_jax.config.finetune_config()`.
"""

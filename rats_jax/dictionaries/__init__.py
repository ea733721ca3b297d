"""The work of `rats dictionary`. See docs/dictionary.md."""

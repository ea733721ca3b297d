"""A dictionary of parts: entries that registers of all images are assigned to, and their names.

The paper's section 4.4 and appendix C. See docs/dictionary.md.
"""

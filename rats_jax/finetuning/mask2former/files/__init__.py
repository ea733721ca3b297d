"""Files that an export copies. They need torch and transformers, and nothing of rats_jax.

The model that is trained is the one in these files, so an export opens again as what was trained.
In an export they are next to modeling_rats.py; here that file is found in `torch_export/files`.
"""

from pathlib import Path

#: The folder of modeling_rats.py.
ENCODERS = Path(__file__).parents[3] / "torch_export" / "files"

__path__.append(str(ENCODERS))

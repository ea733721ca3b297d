"""With --task=likeness: how alike the global vectors of two images are, on average."""

from rats_jax.evals.request import Request, say_end
from rats_jax.evals.whole_images import open_images

FLAGS = ()


def run(request: Request) -> None:
    import numpy as np

    from rats_jax.api import compute_features
    from rats_jax.data.decode import decode
    from rats_jax.results_folder import new_folder
    from rats_jax.voice import say
    from rats_jax.writing import write_json

    opened = open_images(request)
    source = opened.dataset.source
    read = [source[i][0] for i in range(len(source))]
    images = [decode(image) if isinstance(image, bytes) else image for image in read]
    likeness = {}
    for name, model in opened.models.items():
        vectors = compute_features(model, images, resolution=opened.resolution).global_vector
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        cosines = (vectors @ vectors.T)[np.triu_indices(len(images), 1)]
        likeness[name] = float(cosines.mean())
        say(f"{name}: {likeness[name]:.3f}")
    with new_folder(opened.target) as folder:
        write_json(folder / "results.json", opened.about | {"likeness": likeness})
    say_end((), opened.target)

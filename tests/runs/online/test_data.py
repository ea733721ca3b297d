"""The numbers of regions of an evaluation."""

from rats_jax.runs.online.data import headline


def test_the_headline_is_the_best_metrics_number_of_regions():
    assert headline((6, 12, 33), "parts/ari_33") == 33
    assert headline((6, 12, 33), "loss") == headline((6, 12), "parts/m2o_8") == 12
    assert headline((2, 4), "knn/top1_2") == headline((2, 4), "parts/x") == 4

"""Weighted k nearest neighbours in feature space, by cosine (Wu et al. 2018, arXiv 1805.01978; DINO, arXiv 2104.14294).

k is chosen on the validation split; the test split is then predicted from train and validation together.
"""

from bench.records import Measurement, Params
from bench.suite import suites
from bench.suite.transfer import VALIDATION, Learning, noted

KS = "1+5+10+20+50+200"

KNN = Learning(
    name="knn",
    version=1,
    title="Transfer by k nearest neighbours",
    paper="Wu et al. 2018, arXiv 1805.01978; Caron et al. 2021, arXiv 2104.14294",
    settings=Params(ks=KS, token="pre_logits"),
    measurements=lambda s: {"": (Measurement(name="knn", params=Params(ks=s["ks"], token=s["token"])),)},
    terms=lambda s: (
        f"k-NN by cosine, votes exp(s / 0.07), k of {s['ks']} chosen on validation",
        f"{s['token']} features",
    ),
    chosen=(VALIDATION, noted("chosen_k", "neighbours")),
)

suites.register(KNN.suite(track="transfer", predicts="imagenet-1k"))

"""Linear probe: multinomial logistic regression on standardised features, after Radford et al. 2021 (arXiv 2103.00020).

45 strengths of L2 are tried on the validation split; the best is fit again to train and validation together.
"""

from bench.metrics.classification import NLL
from bench.records import Measurement, Params
from bench.suite import suites
from bench.suite.transfer import VALIDATION, Learning, noted

VALUES, SMALLEST, LARGEST = 45, 1e-6, 1e6
"""Strengths of L2: how many, evenly spaced in their logarithm, from and to."""
SETTINGS = Params(token="pre_logits", values=VALUES, smallest=SMALLEST, largest=LARGEST)

LINEAR_PROBE = Learning(
    name="linear-probe",
    version=1,
    title="Transfer by linear probe",
    paper="Radford et al. 2021, arXiv 2103.00020, appendix A.3",
    settings=SETTINGS,
    measurements=lambda s: {"": (Measurement(name="linear-probe", params=Params({k: s[k] for k in SETTINGS})),)},
    terms=lambda s: (
        f"logistic regression on standardised features, L2 of {s['values']} from {s['smallest']:g} to {s['largest']:g} "
        "chosen on validation",
        f"{s['token']} features",
    ),
    chosen=(VALIDATION, noted("chosen_log10_l2", "log10"), noted("converged"), NLL),
)

suites.register(LINEAR_PROBE.suite(track="transfer", predicts="imagenet-1k"))

"""The measures that the project registers."""

from bench.attacks import ENGINE_VERSION
from bench.attacks.builtin import FGSM, PGD
from bench.measure import MeasureEntry, measures, register_attack
from bench.records import Params

measures.register(
    MeasureEntry(
        name="classify",
        version=1,
        interface="batch",
        factory="bench.measure.classify:Classify",
        about="one forward pass: prediction, ten largest logits, loss, rank of the label",
    )
)
register_attack(FGSM)
register_attack(PGD)
measures.register(
    MeasureEntry(
        name="autoattack",
        version=1,
        interface="checkpoint",
        factory="bench.measure.autoattacked:AutoAttacked",
        engine=ENGINE_VERSION,
        seeded=True,
        exact=True,
        # 100 steps, 9 times 100, 9 times 100 of three passes and a gradient's, 5,000 queries.
        passes=lambda params: 3 * 100 + 9 * 3 * 100 + 9 * 5 * 100 + 5000,
        about="AutoAttack standard, by its authors' code, in blocks of 100 images",
    )
)
for name, factory, seeded, about in (
    ("knn", "Knn", False, "weighted cosine neighbours among training features, k chosen on validation"),
    ("linear-probe", "LinearProbe", False, "logistic regression on features, its regularisation chosen on validation"),
    ("few-shot", "FewShot", True, "closed-form ridge on the features of a few samples a class"),
):
    measures.register(
        MeasureEntry(
            name=name,
            version=1,
            interface="features",
            factory=f"bench.measure.probes:{factory}",
            transfer=True,
            seeded=seeded,
            about=about,
        )
    )
measures.register(
    MeasureEntry(
        name="fine-tune",
        version=1,
        interface="checkpoint",
        factory="bench.measure.fine_tuned:FineTuned",
        transfer=True,
        parallel=True,
        seeded=True,
        about="every weight trained further with a new head, the best epoch chosen on validation",
    )
)
measures.register(
    MeasureEntry(
        name="segment",
        version=1,
        interface="checkpoint",
        factory="bench.measure.segmented:Segmented",
        transfer=True,
        seeded=True,
        about="a linear head on frozen patch tokens learns masks; pixels by class of each image",
    )
)
for name, factory, about in (
    ("neurons", "Neurons", "share of units above zero after each activation, and units that never are"),
    ("norms", "Norms", "L2 norm of the weights, of each layer and of all"),
    ("attention", "Attended", "entropy and mean distance of each attention head, and rollout maps"),
):
    measures.register(
        MeasureEntry(
            name=name,
            version=1,
            interface="checkpoint",
            factory=f"bench.measure.inside:{factory}",
            exact=True,
            passes=lambda params: 1,
            about=about,
        )
    )


def _of_curvature(params: Params) -> int:
    """A product takes about two gradients, and one of every block together about three times as much."""
    steps, probes, starts = _number(params, "steps", 30), _number(params, "probes", 10), _number(params, "starts", 0)
    return 6 * (steps * (1 + 3 * bool(params.get("blocks"))) + probes + 10 * starts)


def _of_flatness(params: Params) -> int:
    """A pass for each draw of each noise, and gradients."""
    sizes = sum(str(params.get(name)).count("+") + 1 for name in ("sigma", "relative"))
    return _number(params, "draws", 10) * sizes + 9


def _of_surface(params: Params) -> int:
    """A pass for each point."""
    points: int = _number(params, "points", 21) ** _number(params, "dimensions", 1)
    return points


def _number(params: Params, name: str, default: int) -> int:
    return int(params.get(name) or default)


for name, factory, version, passes, about in (
    (
        "curvature",
        "Curved",
        2,  # traces of blocks come with that of the whole
        _of_curvature,
        "eigenvalues of the Hessian, trace, spectral density and blocks",
    ),
    (
        "flatness",
        "Flatness",
        1,
        _of_flatness,
        "loss under noise of the weights and at SAM's ascent",
    ),
    (
        "surface",
        "Surface",
        1,
        _of_surface,
        "loss along directions that are scaled to the filters",
    ),
    ("ntk", "TangentKernel", 1, lambda params: 6, "extreme eigenvalues of the tangent kernel of blocks of images"),
):
    measures.register(
        MeasureEntry(
            name=name,
            version=version,
            interface="checkpoint",
            factory=f"bench.measure.landscape:{factory}",
            seeded=True,
            exact=True,
            passes=passes,
            about=about,
        )
    )

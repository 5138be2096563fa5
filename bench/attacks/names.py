"""Names that suites need of attacks whose code imports torch."""

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks of AutoAttack `standard`, in turn (Croce & Hein 2020, arXiv 2003.01690, section 5)."""

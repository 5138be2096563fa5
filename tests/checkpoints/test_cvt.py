import sys
from pathlib import Path

import pytest

from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.errors import BenchError


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    from bench.checkpoints.cvt import cvt13

    with pytest.raises(BenchError, match=r"CvT needs transformers, .*: pip install 'rtbench\[cvt\]'"):
        cvt13()


@pytest.mark.parametrize(("name", "parameters"), [("cvt-13.ms_in1k", 20e6), ("cvt-21.ms_in1k", 31.6e6)])
def test_it_loads_arrays_with_the_names_of_the_hub(tmp_path: Path, name: str, parameters: float) -> None:
    pytest.importorskip("transformers", reason="the extra `cvt` is not installed")
    from dataclasses import replace

    import torch
    from safetensors.torch import save_file

    from bench.checkpoints import cvt

    entry = checkpoints.get(name)
    model = getattr(cvt, entry.builder.split(":")[1])()
    arrays = model.state_dict()
    # As huggingface/transformers' conversion script writes them.
    assert "cvt.encoder.stages.0.embedding.convolution_embeddings.projection.weight" in arrays
    assert {"cvt.encoder.stages.2.cls_token", "layernorm.weight", "classifier.bias"} <= arrays.keys()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.01)  # the paper's table 3
    save_file({key: array.contiguous() for key, array in arrays.items()}, tmp_path / "model.safetensors")
    module = load(replace(entry, weights=str(tmp_path / "model.safetensors")), "cpu")
    assert module(torch.rand(2, 3, 224, 224)).shape == (2, 1000)

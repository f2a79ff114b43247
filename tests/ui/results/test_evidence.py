"""log p(x) of what another library made: nothing is written beside its file."""

import dataclasses

from vae.formats import ForeignRun
from vae.ui.results import evidence
from vae.ui.results.store import RESULTS


def test_log_px_of_a_checkpoint_that_is_a_file_is_kept_and_that_is_said(view, tmp_path):
    path = tmp_path / "theirs.pt"
    path.write_bytes((view.run.path / "model.safetensors").read_bytes())
    run = ForeignRun("theirs.pt", path, view.run.model_config, None, view.run.load_model)
    few = dataclasses.replace(
        view,
        run=run,
        images=view.images.first(5),
        embedding=dataclasses.replace(view.embedding, mu=view.embedding.mu[:5]),
    )
    assert evidence.found(few) is None
    evidence._start(few)
    task = RESULTS.task(evidence._key(few))
    assert task.over.wait(60)
    assert task.problem == ""
    assert len(evidence.found(few)) == 5
    _, why = evidence._look(few)
    assert why == "nothing is written beside theirs.pt, which another library made"
    assert [found.name for found in tmp_path.glob("*.pt*")] == ["theirs.pt"]

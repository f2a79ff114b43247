"""`python -m vae list`, `shrink`, `refit` and `export`."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from vae.runs import film
from vae.runs.checkpoint import open_run
from vae.runs.status import Status, write_status


def test_list_shows_every_run_and_why_others_cannot_be_opened(vae, run, tiny_run, checkpoints):
    for name in ("bad-config", "bad-metrics", "bad-status", "untrained", "no-weights"):
        tiny_run(checkpoints / name)
    config = json.loads((checkpoints / "bad-config/config.json").read_text())
    config["format_version"] = "\ud800"  # what no terminal can print
    (checkpoints / "bad-config/config.json").write_text(json.dumps(config))
    (checkpoints / "bad-metrics/metrics.jsonl").write_text('{"epoch": 1}\n')
    (checkpoints / "bad-status/status.json").write_text("[" * 100_000)
    for file in ("metrics.jsonl", "embedding.safetensors"):
        (checkpoints / "untrained" / file).unlink()
    (checkpoints / "no-weights/model.safetensors").unlink()
    code, out, err = vae("list")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert (code, err) == (0, "")
    assert set(lines) == {path.name for path in checkpoints.iterdir()}
    score = run.load_embedding().means()["neg_elbo"]
    for name in ("tiny", "bad-status"):
        assert f"-ELBO {score:.2f} nats" in lines[name]
        assert "digits" in lines[name]
        assert f" {'finished':8}" in lines[name]
    assert lines["tiny"].endswith("finished")
    assert "finished: status.json is not valid JSON" in lines["bad-status"]
    assert "untrained " in lines["untrained"][10:]
    for name, file in (
        ("bad-config", "config.json"),
        ("bad-metrics", "metrics.jsonl, line 1"),
        ("no-weights", "model.safetensors"),
    ):
        assert "cannot be opened: " in lines[name]
        assert file in lines[name]


def test_list_of_an_empty_or_missing_folder_says_what_makes_a_run(vae, checkpoints):
    for arguments in ([], ["--folder", checkpoints / "nowhere"]):
        code, out, _ = vae("list", *arguments)
        assert code == 0
        assert "python -m vae train" in out


def test_shrink_halves_the_weights_and_hardly_moves_the_terms(evaluated, vae, run):
    before, size = run.load_embedding(), (run.path / "model.safetensors").stat().st_size
    code, out, err = vae("shrink", run.path)
    assert (code, err.count("vae: ")) == (0, 0)
    assert "recon moved by" in out
    assert {tensor.dtype for tensor in load_file(run.path / "model.safetensors").values()} == {
        torch.float16
    }
    n_header = 2000  # at most
    assert (
        size / 2 - n_header < (run.path / "model.safetensors").stat().st_size < size / 2 + n_header
    )
    model, after = run.load_model(), run.load_embedding()
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    for name in ("recon", "kl"):
        assert abs(after.means()[name] - before.means()[name]) < 0.05
    assert evaluated(run.path)["neg_elbo"] == pytest.approx(before.means()["neg_elbo"], abs=0.05)
    assert vae("shrink", run.path)[0] == 0  # once more is no harm
    assert run.load_embedding().recon.tobytes() == after.recon.tobytes()


def test_shrink_refuses_what_is_not_finished(refused, run):
    write_status(run.path, Status("stopped"))
    before = run.fingerprint()
    assert f"{run.path} is stopped; only a finished run can be shrunk" in refused(
        "shrink", run.path
    )
    assert run.fingerprint() == before


def test_shrink_refuses_weights_that_half_precision_cannot_hold(refused, run):
    state = load_file(run.path / "model.safetensors")
    state["encoder.mu.bias"][0] = 1e6
    save_file(state, run.path / "model.safetensors")
    before = run.fingerprint()
    assert "too large for half precision" in refused("shrink", run.path)
    assert run.fingerprint() == before


def test_refit_copies_a_run_with_a_lattice_encoder(evaluated, vae, run, checkpoints):
    fingerprint, before = run.fingerprint(), run.load_embedding()
    gap = evaluated(run.path, "--exact")["gap"]
    code, out, err = vae("refit", run.path)
    assert (code, err) == (0, "")
    made = open_run(checkpoints / "tiny-lattice")
    after = made.load_embedding().means()["neg_elbo"]
    assert out == (
        f"{made.path}: -ELBO {after:.2f} nats per image, with the encoder of layers "
        f"{before.means()['neg_elbo']:.2f}\n"
    )
    assert after < before.means()["neg_elbo"]
    assert run.fingerprint() == fingerprint
    assert made.load_metrics() == run.load_metrics()
    assert film.epochs(made) == film.epochs(run)
    decoders = (one.load_model().decoder.state_dict() for one in (run, made))
    assert all(torch.equal(*pair) for pair in zip(*(d.values() for d in decoders), strict=True))
    assert evaluated(made.path)["neg_elbo"] == pytest.approx(after, abs=1e-4)
    assert evaluated(made.path, "--exact")["gap"] < gap / 2
    assert vae("shrink", made.path)[0] == 0
    assert evaluated(made.path)["neg_elbo"] == pytest.approx(after, abs=0.05)
    assert vae("export", made.path, "--html", checkpoints.parent / "page.html")[0] == 0


@pytest.mark.slow
def test_refit_says_why_there_can_be_no_lattice_encoder(refused, vae, run, tiny_run, checkpoints):
    assert "exists" in refused("refit", run.path, "--name", "tiny")
    assert "name (='a/b')" in refused("refit", run.path, "--name", "a/b")
    three = tiny_run(checkpoints / "three", latent_dim=3)
    assert "3 latent dimensions" in refused("refit", three.path)
    vae("refit", run.path, "--name", "made")
    assert "has a lattice encoder already" in refused("refit", checkpoints / "made")
    write_status(run.path, Status("stopped"))
    assert "only a finished run can be refitted" in refused("refit", run.path)
    assert {path.name for path in checkpoints.iterdir()} == {"tiny", "three", "made"}


def test_export_writes_one_page_and_says_where_and_how_large_it_is(vae, run, tmp_path):
    path = tmp_path / "page.HTML"
    code, out, err = vae("export", run.path, "--html", path)
    assert (code, err) == (0, "")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    assert out == f"{path} {path.stat().st_size / 1e6:.2f} MB\n"


def test_export_is_named_after_the_run_unless_told(vae, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert vae("export", run.path / "config.json")[1].startswith("tiny.html ")
    assert (tmp_path / "tiny.html").exists()


@pytest.mark.parametrize("name", ["page", "page.pdf", ".html", "page.html.gz"])
def test_export_refuses_a_file_that_is_no_page(refused, run, tmp_path, name):
    said = refused("export", run.path, "--html", tmp_path / name)
    assert said == f"--html (={tmp_path / name}) must end in .html"
    assert not (tmp_path / name).exists()


def test_export_refuses_what_is_no_run_and_where_it_cannot_write(refused, run, tmp_path):
    assert "nowhere" in refused("export", tmp_path / "nowhere")
    assert "CHECKPOINT" in refused("export")
    assert "missing" in refused("export", run.path, "--html", tmp_path / "missing/page.html")


def test_export_without_embedding_and_data_says_what_is_missing(refused, run, tmp_path, no_data):
    config = json.loads((run.path / "config.json").read_text())
    config["train"]["dataset"] = "mnist"
    (run.path / "config.json").write_text(json.dumps(config))
    (run.path / "embedding.safetensors").unlink()
    said = refused("export", run.path, "--html", tmp_path / "page.html")
    assert f"{run.path} holds no embedding, and the data set 'mnist' is not in" in said
    assert "python -m vae" in said
    assert not (tmp_path / "page.html").exists()


def test_export_names_the_weights_that_cannot_be_run(refused, run, tmp_path):
    weights = load_file(run.path / "model.safetensors")
    weights["decoder.body.0.weight"][0, 0] = torch.inf
    save_file(weights, run.path / "model.safetensors")
    assert "decoder.body.0.weight" in refused("export", run.path, "--html", tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()


def test_a_folder_has_a_page_of_each_and_an_index(vae, checkpoints, tiny_run, tmp_path):
    paths = [tiny_run(checkpoints / name).path for name in ("one", "two")]
    folder = tmp_path / "new" / "site"
    code, out, err = vae("export", paths[0], tmp_path / "nowhere", paths[1], "--folder", folder)
    assert code == 0
    assert "nowhere is left out: " in err
    assert {path.name for path in folder.iterdir()} == {
        *("one.html", "two.html", "index.html", ".nojekyll")
    }
    assert out.splitlines()[-1] == f"{folder / 'index.html'} of 2"


def test_a_folder_that_cannot_be_made_is_refused(refused, run, checkpoints, tiny_run, tmp_path):
    other = tiny_run(tmp_path / "tiny")
    assert "--folder" in refused("export", run.path, other.path)
    both = refused("export", run.path, "--folder", tmp_path / "site", "--html", "a.html")
    assert "give one" in both
    (tmp_path / "file").write_text("")
    assert "file" in refused("export", run.path, "--folder", tmp_path / "file")
    assert "nowhere" in refused("export", tmp_path / "nowhere", "--folder", tmp_path / "site")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "index.html").write_text("<h1>a course</h1>")
    assert "not one that was written" in refused(
        "export", run.path, "--folder", tmp_path / "theirs"
    )


def test_of_two_of_one_name_the_second_is_left_out(vae, run, tiny_run, tmp_path):
    other = tiny_run(tmp_path / run.name)
    code, out, err = vae("export", run.path, other.path, "--folder", tmp_path / "site")
    assert code == 0
    assert "another one is called" in err
    assert out.endswith("of 1\n")

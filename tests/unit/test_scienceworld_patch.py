from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from mpo_core.envs.scienceworld.classfile import ClassFile
from mpo_core.envs.scienceworld.patch import (
    OBJECT,
    PARSER,
    PARSER_MODULE,
    forget_at_parse,
    hash_by_id,
    remember_referents,
    write_patched_classes,
)

CHANGES = {OBJECT: hash_by_id, PARSER: forget_at_parse, PARSER_MODULE: remember_referents}


def jar() -> Path:
    [folder] = find_spec("scienceworld").submodule_search_locations
    return Path(folder) / "scienceworld.jar"


def test_reading_and_writing_a_class_changes_no_byte():
    with ZipFile(jar()) as archive:
        for name in archive.namelist():
            if name.startswith("scienceworld/") and name.endswith(".class"):
                content = archive.read(name)
                assert ClassFile(content).content() == content, name


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_adds_little_and_cannot_be_made_twice(name: str):
    with ZipFile(jar()) as archive:
        original = archive.read(f"{name}.class")
    changed = CHANGES[name](original)
    assert 20 < len(changed) - len(original) < 1000
    with pytest.raises(ValueError, match="the class has a method"):
        CHANGES[name](changed)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_another_class_is_refused(name: str):
    with ZipFile(jar()) as archive:
        other = archive.read("scienceworld/tasks/Task.class")
    with pytest.raises(ValueError, match="has no"):
        CHANGES[name](other)


def test_what_is_no_class_file_is_refused():
    with pytest.raises(ValueError, match="not a Java class"):
        ClassFile(b"PK\x03\x04 and more")


def test_the_changed_classes_lie_where_java_looks_for_them(tmp_path: Path):
    write_patched_classes(jar(), tmp_path)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.class")}
    assert found == {f"{name}.class" for name in CHANGES}

"""The committed run, bundle and network are unchanged since they were made."""

from __future__ import annotations

from trained_data import BUNDLE, DIGESTS, RUN, RUN_FILES, digests

from unet_edge import Bundle
from unet_edge.system.files import sha256


def test_the_files_have_the_committed_digests() -> None:
    assert digests() == DIGESTS.read_text(encoding="utf-8"), (
        "make the data again: python tests/support/trained_data.py"
    )


def test_the_bundle_is_of_the_run() -> None:
    assert sorted(path.name for path in RUN.iterdir()) == sorted(RUN_FILES)
    reference = Bundle.open(BUNDLE).reference
    assert reference.keras_sha256 == sha256((RUN / "model.keras").read_bytes())


def test_the_files_name_no_folder_of_the_machine_that_made_them() -> None:
    for path in (RUN / "config.toml", RUN / "result.json", BUNDLE / "bundle.json"):
        assert '"/' not in path.read_text(encoding="utf-8"), path

"""Loading invalid checkpoints: the error message says what is wrong and what to do."""

import os
import pickle
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from vim_deploy.errors import CheckpointError
from vim_deploy.model.checkpoint import load_checkpoint, save_checkpoint
from vim_deploy.model.config import VimConfig
from vim_deploy.model.vim import VisionMamba

SMALL = VimConfig(image_size=(32, 32), embed_dim=16, depth=1, num_classes=5)


@pytest.fixture
def state():
    torch.manual_seed(0)
    return dict(VisionMamba(SMALL).state_dict())


def refused(path, **options):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, **options)
    message = str(caught.value)
    assert path.name in message
    return message


# Files that are not checkpoints


def test_missing_file(tmp_path):
    assert "does not exist; check the path" in refused(tmp_path / "absent.pth")


def test_folder(tmp_path):
    assert "is a folder; expected a file" in refused(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "w.pth").touch()
    assert "is empty (0 bytes)" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content, described",
    [
        (b"<!DOCTYPE html><html>Not found</html>", "text that starts with '<!DOCTYPE html>"),
        (b"hello", "text that starts with 'hello'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG image"),
        (b"\x08\x07\x12\xff" * 50, "starts with the bytes 08 07 12 ff"),
    ],
)
def test_other_content(content, described, tmp_path):
    (tmp_path / "w.pth").write_bytes(content)
    message = refused(tmp_path / "w.pth")
    assert described in message
    assert "Expected a checkpoint written by torch.save" in message


def test_other_zip_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "ZIP archive but not a checkpoint (it contains readme.txt)" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_torch_file(kept, zipped, state, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    message = refused(path)
    assert "truncated" in message or "damaged" in message


def test_torch_file_with_overwritten_bytes(state, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[80:400] = b"\xff" * 320
    path.write_bytes(content)
    assert "damaged" in refused(path)


@pytest.mark.parametrize("kept", [6, 20, 500, -1])
def test_truncated_safetensors_file(kept, state, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:kept])
    assert "not a readable safetensors file" in refused(path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"depth": ' + "9" * 5000 + "}",
        '{"depth": 1000000000000}',
        '{"depth": "1"}',
        '{"image_size": 32, "color": 1}',
        '{"directions": "up"}',
    ],
)
def test_safetensors_with_an_invalid_configuration(text, state, tmp_path):
    save_file(state, tmp_path / "w.safetensors", metadata={"vim_deploy.config": text})
    assert "metadata vim_deploy.config" in refused(tmp_path / "w.safetensors")


def test_tensors_that_are_expanded_beyond_the_file(state, tmp_path):
    state["norm_f.weight"] = torch.zeros(1).expand(1 << 40)
    torch.save(state, tmp_path / "w.pth")
    assert "they are expanded or share memory" in refused(tmp_path / "w.pth")


def test_layers_with_large_numbers(state, tmp_path):
    torch.save(state | {"layers.9999.norm.weight": torch.zeros(16)}, tmp_path / "w.pth")
    assert "depth is 10000; expected 1 to 256" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["pipe.pth", "pipe.safetensors"])
def test_a_pipe(name, tmp_path):
    os.mkfifo(tmp_path / name)
    assert "not a regular file" in refused(tmp_path / name)


def test_a_compressed_archive(state, tmp_path):
    torch.save(state, tmp_path / "stored.pth")
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    assert "has compressed entries" in refused(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_archive(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "w.pt")
    assert "TorchScript archive" in refused(tmp_path / "w.pt")


def test_obsolete_tar_format(tmp_path):
    (tmp_path / "inner").write_bytes(b"storages")
    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        archive.add(tmp_path / "inner", "storages")
    assert "is a tar archive" in refused(tmp_path / "w.pth")


def test_plain_pickle_without_code(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"weights": [1.0]}))
    assert "plain Python pickle, not written by torch.save" in refused(tmp_path / "w.pkl")


# Files that contain code


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def save_zipped(content, path):
    torch.save(content, path)


def save_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


def save_pickle_protocol_2(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [save_zipped, save_legacy, save_pickle, save_pickle_protocol_2])
def test_pickle_with_code_is_refused_and_the_code_does_not_run(save, state, tmp_path):
    path, marker = tmp_path / "w.pth", tmp_path / "code-was-run"
    save({"model": state, "callback": Malicious(marker)}, path)
    message = refused(path)
    assert f"{os.mkdir.__module__}.mkdir" in message
    assert "weights were NOT loaded" in message and "If not, delete it" in message
    assert not marker.exists()
    # The same file runs code if it is unpickled, so the check above can fail.
    if save in (save_pickle, save_pickle_protocol_2):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()


def test_every_forbidden_import_is_named(tmp_path):
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps([Malicious(tmp_path / "a"), os.rmdir, os.unlink, Malicious]))
    message = refused(path)
    for name in ("mkdir", "rmdir", "unlink"):
        assert f"{os.mkdir.__module__}.{name}" in message
    assert not (tmp_path / "a").exists()


def test_pickled_model_object(tmp_path):
    torch.save(VisionMamba(SMALL), tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert "vim_deploy.model.vim.VisionMamba" in message
    assert "torch.save(model.state_dict()" in message


# Contents that are not weights


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], "text"])
def test_content_is_not_a_dict(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    assert f"contains a {type(content).__name__}" in refused(tmp_path / "w.pth")


def test_dict_without_weights(tmp_path):
    torch.save({"epoch": 3, "model": {}}, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert "no weights with the key 'model'" in message and "all keys: epoch, model" in message


def test_missing_model_ema_lists_the_existing_keys(state, tmp_path):
    torch.save({"model": state, "optimizer": {"state": {}}, "extra": state}, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth", checkpoint_key="model_ema")
    assert "no weights with the key 'model_ema'. Its state dicts: model, extra" in message


def test_missing_model_ema_in_a_bare_state_dict(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    assert "the file is a bare state dict" in refused(tmp_path / "w.pth", checkpoint_key="model_ema")


def test_model_ema_is_not_used_in_place_of_model(state, tmp_path):
    torch.save({"model_ema": state}, tmp_path / "w.pth")
    assert "Its state dicts: model_ema" in refused(tmp_path / "w.pth")


def test_unknown_checkpoint_key(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match="checkpoint key is 'optimizer'; expected one of model, model_ema"
    ):
        load_checkpoint(tmp_path / "w.pth", checkpoint_key="optimizer")


def test_weights_of_another_network(tmp_path):
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert "not a Vision Mamba: the tensor patch_embed.proj.weight is missing" in message
    assert "bias, weight" in message


# Tensors that do not fit


def test_missing_tensors_are_named_and_counted(state, tmp_path):
    for name in [
        name for name in state if ".mixer." in name and not name.endswith(("A_log", "conv1d.weight"))
    ]:
        del state[name]
    torch.save(state, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert "missing" in message and "layers.0.mixer.in_proj.weight" in message
    assert "does not fit custom (image 32x32, patch 16" in message


def test_more_than_ten_names_are_counted(state, tmp_path):
    torch.save(state | {f"extra.{n}": torch.zeros(1) for n in range(13)}, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert "13 unexpected: extra.0, " in message and "extra.9 and 3 more" in message
    assert "extra.10" not in message


def test_both_shapes_are_shown_if_they_differ(state, tmp_path):
    state["norm_f.weight"] = torch.zeros(17)
    torch.save(state, tmp_path / "w.pth")
    assert "1 of another shape: norm_f.weight (has (17,), expected (16,))" in refused(tmp_path / "w.pth")


def test_missing_block(tmp_path):
    state = VisionMamba(SMALL.replace(depth=3)).state_dict()
    torch.save({name: value for name, value in state.items() if "layers.1." not in name}, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert "17 missing: layers.1." in message and "and 7 more" in message


def test_weights_that_do_not_fit_the_given_configuration(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth", config=SMALL.replace(embed_dim=32))
    assert (
        "of another shape" in message
        and "Give the configuration that the weights were trained with" in message
    )


def test_wrong_number_of_classes(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth", num_classes=10)
    assert "has 5 classes, but 10 were requested" in message
    assert "has 5 classes, but 7 were requested" in refused(
        tmp_path / "w.pth", config=SMALL.replace(num_classes=7)
    )


def test_values_that_are_not_finite_are_named_and_counted(state, tmp_path):
    state["norm_f.weight"][:3] = float("nan")
    state["head.bias"][1] = float("-inf")
    torch.save(state, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert f"2 of {len(state)} tensors" in message
    assert "norm_f.weight (3 NaN, 0 infinite of 16)" in message
    assert "head.bias (0 NaN, 1 infinite of 5)" in message


def test_overflow_is_found_after_conversion_to_float32(state, tmp_path):
    state["norm_f.weight"][0] = 1e6
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "w.pth")
    assert "norm_f.weight (0 NaN, 1 infinite of 16)" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "value, described",
    [
        (torch.zeros(16, dtype=torch.int8), "int8"),
        (torch.zeros(16, dtype=torch.complex64), "complex64"),
        (torch.zeros(16).to_sparse(), "sparse_coo"),
        (torch.zeros(16, device="meta"), "on device meta"),
        (3, "int"),
    ],
)
def test_values_that_are_not_weights(value, described, state, tmp_path):
    torch.save(state | {"norm_f.weight": value}, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert f"norm_f.weight ({described}" in message


def test_saving_in_another_format_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"does not end in \.safetensors"):
        save_checkpoint(VisionMamba(SMALL), tmp_path / "w.pth")

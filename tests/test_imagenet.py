"""The shipped classes of ImageNet-1k."""

from __future__ import annotations

from vim_deploy.imagenet import IMAGENET_NAMES, SYNSETS


def test_there_are_1000_different_names_and_synsets():
    assert len(IMAGENET_NAMES) == len(set(IMAGENET_NAMES)) == 1000
    assert len(SYNSETS) == len(set(SYNSETS)) == 1000
    assert all(name == name.strip() != "" for name in IMAGENET_NAMES)


def test_classes_are_in_the_order_of_their_synsets():
    # ILSVRC 2012 numbers the classes of classifiers by ascending synset.
    assert list(SYNSETS) == sorted(SYNSETS)
    assert all(len(synset) == 9 and synset[0] == "n" and synset[1:].isdecimal() for synset in SYNSETS)


def test_well_known_classes_have_their_indices():
    known = {
        0: ("n01440764", "tench"),
        1: ("n01443537", "goldfish"),
        207: ("n02099601", "golden retriever"),
        281: ("n02123045", "tabby"),
        388: ("n02510455", "giant panda"),
        817: ("n04285008", "sports car"),
        999: ("n15075141", "toilet tissue"),
    }
    assert {index: (SYNSETS[index], IMAGENET_NAMES[index]) for index in known} == known

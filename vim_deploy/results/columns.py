"""What a task adds to a row, and how each format spells it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from vim_deploy.prediction import ClassArea, FoundObject, Score
from vim_deploy.results.row import Row
from vim_deploy.tasks.segment.ground_truth import Agreement

TEXT, INTEGER, REAL, INTEGERS, REALS = "text", "integer", "real", "integers", "reals"  # types of columns


class Columns(ABC):
    """Of one task. `fields` are the fields of Row that every format has as they are.

    `types` names the flat columns, those of CSV and Parquet, with their type; `flat` fills them, `from_flat`
    is its inverse and gives fields of Row. `plain` and `from_plain` are the same for JSON Lines. The ways
    back raise KeyError, TypeError or ValueError for what the ways there do not give.
    """

    def __init__(self, fields: tuple[str, ...], types: dict[str, str]) -> None:
        self.fields, self.types = fields, types

    @abstractmethod
    def flat(self, row: Row) -> dict[str, Any]: ...

    @abstractmethod
    def from_flat(self, values: dict[str, Any]) -> dict[str, Any]: ...

    @abstractmethod
    def plain(self, row: Row) -> dict[str, Any]: ...

    @abstractmethod
    def from_plain(self, values: dict[str, Any]) -> dict[str, Any]: ...


_COMMON = ("path", "status", "reason")
_SIZE = ("width", "height")
_LABELLED = (*_COMMON, "label", "rank", *_SIZE)


class ScoreColumns(Columns):
    """`top1`, `top1_probability`, `top2` ...; in JSON Lines `top`, a list of objects.

    The index of a class comes back as -1 from flat columns, which hold names alone.
    """

    def __init__(self, top_k: int) -> None:
        self._places = [(f"top{place}", f"top{place}_probability") for place in range(1, top_k + 1)]
        types = {name: kind for pair in self._places for name, kind in zip(pair, (TEXT, REAL), strict=True)}
        super().__init__(_LABELLED, types)

    def flat(self, row: Row) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for place, (name, probability) in enumerate(self._places):
            score = row.top[place] if place < len(row.top) else None
            columns[name] = score.name if score else None
            columns[probability] = score.probability if score else None
        return columns

    def from_flat(self, values: dict[str, Any]) -> dict[str, Any]:
        return {
            "top": tuple(
                Score(-1, values[name], float(values[probability]))
                for name, probability in self._places
                if values[probability] not in (None, "")
            )
        }

    def plain(self, row: Row) -> dict[str, Any]:
        return {
            "top": [
                {"class": score.name, "index": score.index, "probability": score.probability}
                for score in row.top
            ]
        }

    def from_plain(self, values: dict[str, Any]) -> dict[str, Any]:
        return {
            "top": tuple(
                Score(score["index"], score["class"], score["probability"]) for score in values["top"]
            )
        }


class FeatureColumns(Columns):
    """`features`, in Parquet with their `shape`. They are written and not read back; CSV cannot hold them."""

    def __init__(self) -> None:
        super().__init__(_LABELLED, {"features": REALS, "shape": INTEGERS})

    def flat(self, row: Row) -> dict[str, Any]:
        if row.features is None:
            return {"features": None, "shape": None}
        return {"features": row.features.ravel(), "shape": list(row.features.shape)}

    def plain(self, row: Row) -> dict[str, Any]:
        return {"features": None if row.features is None else row.features.tolist()}

    def from_flat(self, values: dict[str, Any]) -> dict[str, Any]:
        return {}

    from_plain = from_flat


class FeatureFileColumns(Columns):
    """`file`, escaped like paths, and `shape` of the array in it, like 192x14x14."""

    def __init__(self) -> None:
        super().__init__(_LABELLED, {"file": TEXT, "shape": TEXT})

    def flat(self, row: Row) -> dict[str, Any]:
        return {"file": row.file, "shape": "x".join(map(str, row.shape)) or None}

    def from_flat(self, values: dict[str, Any]) -> dict[str, Any]:
        shape = values["shape"]
        return {
            "file": values["file"] or None,
            "shape": tuple(int(side) for side in shape.split("x")) if shape else (),
        }

    plain, from_plain = flat, from_flat


class SegmentColumns(Columns):
    """`classes`: those found, with pixels and share; `agreement` with the true label map, null without one.

    Lists of objects; in flat columns as JSON.
    """

    def __init__(self) -> None:
        super().__init__((*_COMMON, *_SIZE), {"classes": TEXT, "agreement": TEXT})

    def plain(self, row: Row) -> dict[str, Any]:
        pixels = (row.width or 0) * (row.height or 0)
        classes = [
            {"class": area.name, "index": area.index, "pixels": area.pixels, "share": area.pixels / pixels}
            for area in row.areas
        ]
        agreement = None
        if row.agreement is not None:
            agreement = [vars(entry) for entry in row.agreement]
        return {"classes": classes, "agreement": agreement}

    def from_plain(self, values: dict[str, Any]) -> dict[str, Any]:
        areas = [
            ClassArea(int(area["index"]), str(area["class"]), int(area["pixels"]))
            for area in values["classes"]
        ]
        agreement = values["agreement"]
        if agreement is not None:
            agreement = tuple(
                Agreement(*(int(entry[name]) for name in ("index", "both", "predicted", "true")))
                for entry in agreement
            )
        return {"areas": tuple(areas), "agreement": agreement}

    def flat(self, row: Row) -> dict[str, Any]:
        if row.status != "ok":
            return dict.fromkeys(self.types)
        return {
            name: None if value is None else json.dumps(value, ensure_ascii=False)
            for name, value in self.plain(row).items()
        }

    def from_flat(self, values: dict[str, Any]) -> dict[str, Any]:
        return self.from_plain(
            {
                "classes": json.loads(values["classes"] or "[]"),
                "agreement": json.loads(values["agreement"] or "null"),
            }
        )


class ObjectColumns(Columns):
    """`objects`: each with class, score, box (left, top, right, bottom) and outline, best first.

    A list of objects; in flat columns as JSON, beside their number in `count` and the classes with the best
    score of each in `best`, for people.
    """

    def __init__(self) -> None:
        super().__init__((*_COMMON, *_SIZE), {"count": INTEGER, "best": TEXT, "objects": TEXT})

    def plain(self, row: Row) -> dict[str, Any]:
        objects = [
            {
                "class": found.name,
                "index": found.index,
                "score": found.score,
                "box": list(found.box),
                "outline": found.outline,
            }
            for found in row.objects
        ]
        return {"objects": objects}

    def from_plain(self, values: dict[str, Any]) -> dict[str, Any]:
        objects = []
        for found in values["objects"]:
            left, top, right, bottom = found["box"]
            outline = found["outline"]
            objects.append(
                FoundObject(
                    int(found["index"]),
                    str(found["class"]),
                    float(found["score"]),
                    (float(left), float(top), float(right), float(bottom)),
                    None if outline is None else str(outline),
                )
            )
        return {"objects": tuple(objects)}

    def flat(self, row: Row) -> dict[str, Any]:
        if row.status != "ok":
            return dict.fromkeys(self.types)
        best: dict[str, float] = {}
        for found in row.objects:
            best.setdefault(found.name, found.score)
        return {
            "count": len(row.objects),
            "best": "; ".join(f"{name} {score:.3f}" for name, score in best.items()),
            "objects": json.dumps(self.plain(row)["objects"], ensure_ascii=False),
        }

    def from_flat(self, values: dict[str, Any]) -> dict[str, Any]:
        return self.from_plain({"objects": json.loads(values["objects"] or "[]")})


_OF_TASK: dict[str, Callable[[int], Columns]] = {
    "classify": ScoreColumns,
    "features": lambda top_k: FeatureColumns(),
    "feature_files": lambda top_k: FeatureFileColumns(),
    "segment": lambda top_k: SegmentColumns(),
    "detect": lambda top_k: ObjectColumns(),
}


def columns_of(task: str, top_k: int) -> Columns:
    """`top_k`: places of a classifier's list."""
    return _OF_TASK[task](top_k)

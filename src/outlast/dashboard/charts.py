"""Charts: numbers turned into what an SVG draws. The macro `ui.chart` puts a table behind each."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """One kind of number in every bar; `tone` is a class of the style sheet."""

    name: str
    tone: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Box:
    """A rectangle of a chart, in percent of it."""

    x: float
    y: float
    width: float
    height: float
    tone: str


@dataclass(frozen=True)
class Chart:
    """Stacked bars over labels (hours, days)."""

    title: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    unit: str = ""
    widest: float = 7.0
    """Percent of the chart that a bar may take: few bars are no blocks."""

    @property
    def top(self) -> float:
        """The highest stack; 0 when there is nothing."""
        return max(self._stacks(), default=0.0)

    @property
    def boxes(self) -> Sequence[Box]:
        """Every part of every stack, from the ground up."""
        top, count = self.top, len(self.labels)
        if not top:
            return ()
        width = 100 / count
        bar = min(self.widest, width * 0.8)
        boxes = []
        for place in range(count):
            ground = 100.0
            for one in self.series:
                height = 100 * one.values[place] / top
                if height:
                    ground -= height
                    boxes.append(
                        Box(
                            round(place * width + (width - bar) / 2, 3),
                            round(ground, 3),
                            round(bar, 3),
                            round(height, 3),
                            one.tone,
                        )
                    )
        return boxes

    def _stacks(self) -> list[float]:
        return [sum(column) for column in zip(*(one.values for one in self.series), strict=True)]

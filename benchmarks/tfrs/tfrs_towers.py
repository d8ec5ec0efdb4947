"""What both notebooks' models are made of."""

from __future__ import annotations

from typing import Any

import tensorflow as tf  # type: ignore[import-untyped,unused-ignore]

__all__ = ["Tower", "looked_up"]


class Tower(tf.keras.Model):  # type: ignore[misc,unused-ignore]
    """Features, then dense layers: ReLU after all but the last."""

    def __init__(self, features: Any, layer_sizes: list[int]) -> None:
        super().__init__()
        self.features = features
        self.layers_of_tower = tf.keras.Sequential(
            [tf.keras.layers.Dense(size, activation="relu") for size in layer_sizes[:-1]]
            + [tf.keras.layers.Dense(layer_sizes[-1])]
        )

    def call(self, inputs: Any) -> Any:
        return self.layers_of_tower(self.features(inputs))


def looked_up(ids: Any) -> Any:
    """Ids to 32 numbers each; one row for those that are not known."""
    return tf.keras.Sequential(
        [tf.keras.layers.StringLookup(vocabulary=ids, mask_token=None), tf.keras.layers.Embedding(len(ids) + 1, 32)]
    )

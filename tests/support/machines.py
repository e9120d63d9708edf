"""Machines of four kinds, by what forwards of a target of 1.5B and a draft of 0.5B take on them."""

from __future__ import annotations

from support.virtual import Cost, Machine

# Two cores with a matrix unit: sixteen rows cost little more than one.
MATRIX_UNIT = Machine(
    Cost(((1, 0.150), (4, 0.155), (8, 0.155), (16, 0.165), (32, 0.185), (64, 0.25), (512, 1.2)), 0.0008),
    Cost(((1, 0.050), (8, 0.052), (16, 0.058), (32, 0.07), (64, 0.10), (512, 0.4)), 0.0008),
)
# Two cores without: nearly each row costs what the first did not.
NO_MATRIX_UNIT = Machine(
    Cost(((1, 0.20), (2, 0.25), (4, 0.35), (8, 0.5), (16, 0.7), (64, 1.6), (512, 12)), 0.001),
    Cost(((1, 0.07), (4, 0.12), (16, 0.25), (64, 0.6), (512, 4.0)), 0.001),
)
# Two cores with a vector unit for bfloat16: up to six rows are asked for as six, and each further one costs.
VECTOR_UNIT = Machine(
    Cost(((1, 0.12), (6, 0.12), (8, 0.15), (16, 0.20), (32, 0.33), (64, 0.56), (256, 2.1)), 0.001),
    Cost(((1, 0.044), (6, 0.044), (8, 0.05), (16, 0.064), (32, 0.10), (64, 0.17), (256, 0.6)), 0.001),
)
# Draft and target on one GPU: a step reads the weights, and rows are almost free up to a hundred.
GPU = Machine(
    Cost(((1, 0.020), (64, 0.0296), (128, 0.040), (512, 0.1)), 0.00005),
    Cost(((1, 0.0015), (64, 0.003), (512, 0.012)), 0.00002),
)

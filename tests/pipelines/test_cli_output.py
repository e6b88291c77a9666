"""Tables on the terminal."""

import pyarrow as pa
import pytest

from pipelines.cli.output import write_table


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.19, 12.0, None], ["0.19", "12.00", "None"]),
        ([0.19, 0.0014, 0.0], ["0.1900", "0.0014", "0.0000"]),  # all of a column alike, so that they can be compared
        ([120.0, 1e-9], ["120.0000", "0.0000"]),
        ([float("nan"), 0.5], ["nan", "0.50"]),
    ],
)
def test_numbers_of_a_column_have_the_same_decimals(capsys, values, shown):
    write_table(pa.table({"row": [str(value) for value in values], "x": pa.array(values, pa.float64())}))
    lines = capsys.readouterr().out.splitlines()[3:-1]
    assert [line.split()[-1] for line in lines] == shown

import pytest

from harness.errors import SpecError
from harness.results.scores import ScoreRow, read_scores_csv

HEADER = "dataset,algorithm,seed,step,score\n"


def test_a_file_of_scores(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(
        b"\xef\xbb\xbfscore,step,seed,algorithm,dataset\r\n"
        b"-1.5e1,1000000,0,td3_bc,hopper-medium-v2\r\n"
        b"\r\n"
        b'" 2.25",5000, 3 ,"say ""hi"", ok",../x\r\n'
    )
    assert read_scores_csv(path) == [
        ScoreRow(2, "hopper-medium-v2", "td3_bc", 0, 1000000, -15.0),
        ScoreRow(4, "../x", 'say "hi", ok', 3, 5000, 2.25),
    ]


@pytest.mark.parametrize(
    ("content", "position", "message"),
    [
        ("", "1:1", "empty"),
        ("\n \n", "1:1", "empty"),
        (HEADER, "1", "no score below"),
        ("dataset,algorithm,seed,score\nd,a,0,1\n", "1", "column 'step' is missing"),
        ("dataset,algorithm,seed,step,score,\nd,a,0,1,2,x\n", "1", "a column has no name"),
        ("dataset,seed,seed,step,score\n", "1", "column 'seed' stands twice"),
        ("dataset;algorithm;seed;step;score\n", "1", "by commas, not semicolons"),
        (HEADER + "d,a,0,5,1\nd,a,0,5,1,5\n", "3", "6 values for 5 columns; write a decimal point as '.'"),
        (HEADER + "d,a,0,5\n", "2", "4 values for 5 columns"),
        (HEADER + 'd,a,0,5,"1,5"\n', "2", "comma as its decimal point; write 1.5"),
        (HEADER + "d,a,0,5,nan\n", "2", "'nan' is not a number"),
        (HEADER + "d,a,0,5,-inf\n", "2", "is not a number"),
        (HEADER + "d,a,0,5,1_0\n", "2", "is not a number"),
        (HEADER + "d,a,0,5,\n", "2", "'' is not a number"),
        (HEADER + "d,a,0,5,1e999\n", "2", "too large"),
        (HEADER + "d,a,0,-5,1\n", "2", "step: '-5' is not a whole number"),
        (HEADER + "d,a,0,5.0,1\n", "2", "step: '5.0' is not"),
        (HEADER + "d,a,0,9223372036854775808,1\n", "2", "is not a whole number from 0 to 2^63 - 1"),
        (HEADER + "d,a,-1,5,1\n", "2", "seed: '-1' is not"),
        (HEADER + "d,a,²,5,1\n", "2", "seed: '²' is not"),
        (HEADER + ",a,0,5,1\n", "2", "dataset: is empty"),
        (HEADER + "d, ,0,5,1\n", "2", "algorithm: is empty"),
        (HEADER + 'd,"a,0,5,1\n', "2", "no valid CSV: unexpected end of data"),
        (HEADER + "d,a,0,5,1\n\nd,a,1,5,1\nd,a,0,5,1\n", "5", "is on line 2 already"),
        (HEADER.encode() + b"d\xc3\xa9,\xe9,0,5,1\n", "2:4", "not UTF-8"),
    ],
)
def test_mistakes_are_found_where_they_are(tmp_path, content, position, message):
    path = tmp_path / "scores.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpecError) as caught:
        read_scores_csv(path)
    assert str(caught.value).startswith(f"{path}:{position}: ")
    assert message in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read .*: No such file"):
        read_scores_csv(tmp_path / "none.csv")

"""`harness new`: what it writes is right as it stands, trains, and replaces nothing."""

import pytest

TABLE = """\\begin{table}
\\caption{Mean and deviation of five seeds.}
\\begin{tabular}{lcc}
Dataset & TD3+BC & Mine \\\\
hopper-medium-v2 & $59.3 \\pm 4.2$ & \\textbf{66.3} (4.7) \\\\
walker2d-medium-v2 & 83.7 $\\pm$ 2.1 & 78.3 / 2 \\\\
Average & 80.0 & 72.3 \\\\
\\end{tabular}
\\end{table}
"""


def test_skeletons_are_valid_and_train_and_replace_nothing(cli, elsewhere):
    for kind, name in (("algorithm", "my-method"), ("dataset", "my-data-v0"), ("table", "mine")):
        done = cli("new", kind, name)
        assert done.code == 0, done.err
        assert "next:\n  harness " in done.err
        before = {path: path.read_text() for path in (elsewhere / "my-specs").rglob("*.*")}
        again = cli("new", kind, name)
        assert (again.code, again.err.count("\n")) == (2, 1)
        assert f"there is {kind} '{name}' already" in again.err
        assert {path: path.read_text() for path in (elsewhere / "my-specs").rglob("*.*")} == before
    done = cli("--specs", "my-specs", "validate", "mine")
    assert (done.code, done.out) == (0, ""), done.out
    (elsewhere / "my-specs" / "presets").mkdir()
    (elsewhere / "my-specs" / "presets" / "tiny.yaml").write_text(
        "id: tiny\ndescription: tiny\nlabel: tiny\nlineage: generated\ntransitions: 600\n"
        "columns: [my-method]\nseeds: [0]\nsteps: 4\nevaluate_every: 4\nepisodes: 1\n"
    )
    done = cli("--specs", "my-specs", "reproduce", "mine", "--preset", "tiny", "--quiet", "--db", "t.db")
    assert done.code == 0, done.err


def test_one_s_own_data_and_algorithms_alone_are_in_a_new_table(cli, elsewhere):
    for name in ("2024", "1e3"):  # ids that YAML has as numbers unless they are quoted
        cli("new", "table", name, "--specs", "others")
        text = (elsewhere / "others" / "tables" / f"{name}.yaml").read_text()
        assert "datasets: [maze2d-umaze-v1, hopper-random-v2]" in text
        assert "algorithm: bc" in text
        assert cli("--specs", "others", "validate", name).code == 0


@pytest.mark.parametrize("name", ["My_Method", "../up", "a b", "", "aspc-table1"])
def test_a_name_that_is_no_id_or_taken_is_refused(cli, elsewhere, name):
    done = cli("new", "table", name)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert not (elsewhere / "my-specs").exists()


def test_an_algorithm_takes_no_shipped_module_s_place(cli, elsewhere):
    done = cli("new", "algorithm", "base")
    assert done.code == 2
    assert "'base' is a module of the shipped algorithms" in done.err


def test_a_paper_s_table_is_read_validated_and_audited_at_once(cli, elsewhere):
    (elsewhere / "paper.tex").write_text(TABLE)
    done = cli("new", "table", "theirs", "--from", "paper.tex")
    assert done.code == 0, done.err
    assert "paper.tex:6: walker2d-medium-v2, Mine: not read: '78.3 / 2'" in done.out
    assert "theirs: error: average: TD3+BC, Average: 80.0 is printed" in done.out
    assert "read 5 of 6 cells; 1 not" in done.err
    assert "no algorithm is known by the name of Mine" in done.err
    assert cli("--specs", "my-specs", "validate", "theirs").code == 0
    assert (elsewhere / "my-specs" / "published" / "theirs.csv").read_text() == (
        "row,column,mean,std,source,note\n"
        "hopper-medium-v2,td3_bc,59.3,4.2,unknown,\n"
        "hopper-medium-v2,mine,66.3,4.7,unknown,\n"
        "walker2d-medium-v2,td3_bc,83.7,2.1,unknown,\n"
        'walker2d-medium-v2,mine,,,unknown,"NOT READ, line 6: 78.3 / 2"\n'
        "mujoco,td3_bc,80.0,,unknown,\n"
        "mujoco,mine,72.3,,unknown,\n"
    )
    assert "seeds: 5\n" in (elsewhere / "my-specs" / "tables" / "theirs.yaml").read_text()


def test_nothing_is_written_where_the_file_of_numbers_is_there_already(cli, elsewhere):
    (elsewhere / "paper.tex").write_text(TABLE)
    (elsewhere / "my-specs" / "published").mkdir(parents=True)
    (elsewhere / "my-specs" / "published" / "theirs.csv").write_text("mine")
    done = cli("new", "table", "theirs", "--from", "paper.tex")
    assert done.code == 2
    assert "theirs.csv is there already, and nothing is overwritten" in done.err
    assert not (elsewhere / "my-specs" / "tables").exists()


def test_options_of_reading_are_for_reading(cli):
    done = cli("new", "table", "mine", "--seeds", "5")
    assert done.code == 2
    assert "it is for --from FILE" in done.err

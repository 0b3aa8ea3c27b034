import json
import subprocess
import sys

from harness.results import provenance


def test_fingerprint_is_text_and_needs_no_torch():
    code = (
        "import json, sys; from harness.results.provenance import fingerprint;"
        "print(json.dumps(fingerprint('abc', 'NVIDIA H100', 'float32', cuda='12.8')));"
        "assert not {'torch', 'numpy', 'gymnasium'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["algorithm_source"] == "abc"
    assert (found["device"], found["precision"], found["cuda"]) == ("NVIDIA H100", "float32", "12.8")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(isinstance(value, str) and value for value in found.values())
    assert {"torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari", "cpu"} <= set(found)


def test_git_tells_commit_and_changed_code(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)

    def ask():
        provenance._git.cache_clear()
        return provenance._git(tmp_path)

    assert ask() == ("none", "none")
    git("init", "-q")
    assert ask()[0] == "unknown"
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "code.py").write_text("1")
    git("add", ".")
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "first")
    commit, dirty = ask()
    assert (len(commit), dirty) == (40, "false")
    (tmp_path / "results.db").write_text("results are no code")
    assert ask() == (commit, "false")
    (tmp_path / "harness" / "new.py").write_text("2")
    assert ask() == (commit, "true")


def test_a_folder_inside_another_checkout_is_no_checkout(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    site = tmp_path / "site-packages"
    site.mkdir()
    assert provenance._git(site) == ("none", "none")

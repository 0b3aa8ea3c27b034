from __future__ import annotations

from harness.results.store import Store


def test_restart_makes_unfinished_runs_as_new(store, record, train):
    done, failed, interrupted, queued, other = (record(seed) for seed in range(5))
    train(store, done, {5: [1.0], 10: [2.0]})
    train(store, failed, {5: [3.0]}, finish=False)
    store.record_metrics(5, {failed.key: {"q": 1.0}})
    store.record_fingerprint([failed.key], {"torch": "1"}, "population")
    store.record_checkpoint([failed.key], "population.pt", 5)
    store.fail(failed.key, 6, "nan")
    train(store, interrupted, {5: [4.0]}, finish=False)
    train(store, other, {5: [5.0]}, finish=False)
    store.release([interrupted.key, other.key])
    store.register([queued])
    before = store.runs([done.key, other.key])

    keys = [done.key, failed.key, interrupted.key, queued.key, "unknown"]
    assert store.restart(keys) == 3

    for key in keys[1:4]:
        state = store.runs([key])[key]
        assert state.status == "queued"
        left = (state.step, state.checkpoint, state.checkpoint_step, state.population, state.fingerprint_id)
        assert left == (None,) * 5
        assert (state.error, state.failed_step, state.owner, state.started) == (None,) * 4
        assert store.evaluations([key]) == {key: []}
        assert store.metrics([key]) == {key: []}
    assert store.runs([done.key, other.key]) == before
    assert len(store.evaluations([done.key])[done.key]) == 2
    assert len(store.evaluations([other.key])[other.key]) == 1
    assert store.check() == []
    train(store, failed, {5: [9.0], 10: [9.0]})  # other scores than before are taken
    assert [e.mean_return for e in store.evaluations([failed.key])[failed.key]] == [9.0, 9.0]


def test_restart_leaves_what_a_living_process_trains(store, database, record, train):
    run = record()
    train(store, run, {5: [1.0]}, finish=False)
    with Store.open(database) as second:
        assert second.restart([run.key]) == 0
    assert store.runs([run.key])[run.key].status == "running"
    assert len(store.evaluations([run.key])[run.key]) == 1


def test_restart_takes_what_a_dead_process_left(database, record, train):
    run = record()
    with Store.open(database, create=True, lease_seconds=-1) as store:
        train(store, run, {5: [1.0]}, finish=False)
        assert store.restart([run.key]) == 1

import time, threading, pytest
from tests.conformance.sync.kinds import Rig
from tests.unit.sync_svc.engine.world import Clock
import services.aws.clients as ac

@pytest.mark.parametrize("kind", ["aws", "postgres-s3"])
async def test_perf(kind, tmp_path, monkeypatch, aws_environment):
    counts = {}; flight = [0, 0]; lock = threading.Lock()
    orig = ac.AwsClients._called
    def called(self, service, operation, parameters):
        with lock:
            counts[operation] = counts.get(operation, 0) + 1
            flight[0] += 1; flight[1] = max(flight)
        try: return orig(self, service, operation, parameters)
        finally:
            with lock: flight[0] -= 1
    monkeypatch.setattr(ac.AwsClients, "_called", called)
    rig = Rig(tmp_path, Clock(time.time()), local_kind="sqlite", surface_kind=kind, setenv=monkeypatch.setenv)
    await rig.open("local", "remote")
    await rig.project(); await rig.documents(600)
    counts.clear()
    t = time.time(); c = time.process_time()
    await rig.push()
    print(kind, "push 600", round(time.time()-t,2), "cpu", round(time.process_time()-c,2), counts, flight)
    counts.clear(); t=time.time()
    await rig.push()
    print("noop push", round(time.time()-t,3), counts)
    counts.clear(); t=time.time()
    await rig.pull()
    print("pull", round(time.time()-t,2), counts)
    counts.clear(); t=time.time()
    await rig.pull()
    print("noop pull", round(time.time()-t,3), counts)
    await rig.close()

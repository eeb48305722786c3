# SPDX-License-Identifier: MIT
"""Services by compose, and the checks on containers, on a real Docker engine."""
import os
import time

import pytest

import dockerd
import steptool


@pytest.fixture
def boxes(docker_host, tmp_path):
    project = dockerd.Boxes(tmp_path / f"box{os.getpid()}x{time.monotonic_ns() % 10**9}",
                            docker_host)
    project.image()
    try:
        yield project
    finally:
        project.remove()


@pytest.fixture
def step(boxes, tmp_path):
    assert os.access(steptool.step_program(), os.X_OK), "updd-step is not built"
    runner = steptool.StepRunner(tmp_path / "updd")
    runner.context["compose"]["shop"] = {"dir": str(boxes.folder)}
    runner.boxes = boxes
    return runner


def service(step, name="app", compose="shop", **more):
    step.context["services"][name] = {"compose": compose, **more}


def attempt(step, how, verb, *services, **more):
    call = step.do if how == "do" else step.undo
    return call(verb, verb, {"services": list(services) or ["app"]},
                env={"DOCKER_HOST": step.boxes.host}, limit=120, **more)


def done(result):
    assert result["state"] == "done", (result.get("error"), result["log"])
    return result


def look(step, name, args, **more):
    return step.check(name, args, env={"DOCKER_HOST": step.boxes.host}, **more)


def shop(boxes):
    """Two services of the application and the database, in one project, all running."""
    boxes.service("api").service("web", health=False).service("db", restart="always")
    return boxes.up().until_healthy("api", "db")


# ---- checks -------------------------------------------------------------------------------------


def test_containers_by_name_and_glob(step, boxes):
    shop(boxes)
    now = boxes.look()
    names = {n: c["name"] for n, c in now.items()}
    prefix = os.path.commonprefix(list(names.values()))
    done(look(step, "container", {"name": names["api"], "state": "healthy"}))
    done(look(step, "container", {"name": prefix + "*"}))
    done(look(step, "container", {"name": prefix + "*", "state": "healthy",
                                  "except": [names["web"]]}))
    result = look(step, "container", {"name": prefix + "*", "state": "healthy"})
    assert "has no healthcheck" in result["error"]["message"]
    result = look(step, "container", {"name": prefix + "*", "state": "absent"})
    assert "is there" in result["error"]["message"]
    done(look(step, "container", {"name": "no-such-*", "state": "absent"}))
    assert look(step, "container", {"name": "no-such-*"})["state"] == "failed"
    boxes.docker("stop", names["api"])
    result = look(step, "container", {"name": names["api"]})
    assert "does not run" in result["error"]["message"]


def test_an_engine_that_is_not_there_is_told(step):
    service(step)
    env = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    result = step.check("container", {"name": "x"}, env=env)
    assert "/nowhere/docker.sock" in result["error"]["message"], result
    assert "running" in result["error"]["hint"]
    result = step.do("stop", "stop", {"services": ["app"]}, env=env)
    assert result["state"] == "failed", "nothing is taken for stopped"


def test_healthy_and_stopped_see_all_that_counts(step, boxes):
    shop(boxes)
    service(step, "app", **{"except": ["db"]})
    service(step, "api", "shop/api")
    done(look(step, "healthy", {"services": ["app", "api"]}))
    result = look(step, "stopped", {"services": ["app", "api"]})
    assert "app: it runs" in result["error"]["message"] and "api:" in result["error"]["message"]
    boxes.compose("stop", "api", "web")
    done(look(step, "stopped", {"services": ["app", "api"]}))
    result = look(step, "healthy", {"services": ["app"]})
    assert result["state"] == "failed" and result["services"]["app"], result
    assert "is ready" in "\n".join(result["services"]["app"])


def test_a_container_that_is_restarted_again_and_again_is_unhealthy(step, boxes):
    boxes.service("api", dockerd.DIES, health=False, restart="always").up()
    boxes.until(lambda now: now["api"]["restarts"] >= 2)
    service(step)
    for _ in range(4):
        result = look(step, "healthy", {"services": ["app"]})
        assert result["state"] == "failed", "it is looked at between two of its deaths"
        time.sleep(0.3)


def test_logs_are_those_of_the_containers(step, boxes):
    shop(boxes)
    service(step, "api", "shop/api")
    done(look(step, "logs", {"services": ["api"], "has": "^api is ready$", "lacks": "(?i)error"}))
    assert look(step, "logs", {"services": ["api"], "lacks": "ready"})["state"] == "failed"


# ---- stop ---------------------------------------------------------------------------------------


def test_stop_keeps_containers_and_keeps_them_down(step, boxes):
    shop(boxes)
    before = boxes.look()
    service(step, "app", **{"except": ["db"]})
    assert done(attempt(step, "do", "stop"))["outputs"]["ran"] == ["app"]
    now = boxes.look()
    assert boxes.running() == ["db"]
    assert {n: c["id"] for n, c in now.items()} == {n: c["id"] for n, c in before.items()}
    assert now["api"]["restart"] == now["web"]["restart"] == "no", "a reboot would start them"
    assert now["db"] == before["db"], "what is excepted is not touched"
    done(attempt(step, "undo", "stop"))
    assert boxes.look() == before
    done(attempt(step, "undo", "stop"))
    assert boxes.look() == before


def test_stop_with_remove_and_its_undo_with_the_same_files(step, boxes):
    shop(boxes)
    before = boxes.look()
    service(step, "app", remove=True, **{"except": ["db"]})
    done(attempt(step, "do", "stop"))
    assert sorted(boxes.look()) == ["db"]
    done(attempt(step, "undo", "stop"))
    after = boxes.look()
    assert after["db"] == before["db"]
    for name in ("api", "web"):
        same = {k: v for k, v in after[name].items() if k != "id"}
        assert same == {k: v for k, v in before[name].items() if k != "id"}


def test_the_undo_needs_neither_the_old_files_nor_the_old_tag(step, boxes):
    (boxes.folder / ".env").write_text("MOOD=calm\n")
    boxes.service("api", environment={"MOOD": "${MOOD}", "PRICE": "5$$"}).up().until_healthy("api")
    before = boxes.look()["api"]
    assert "MOOD=calm" in before["env"] and "PRICE=5$" in before["env"]
    service(step, remove=True)
    done(attempt(step, "do", "stop"))
    boxes.image("1", mark="another")  # the tag moves
    boxes.services = {}
    (boxes.folder / ".env").write_text("MOOD=angry\n")
    boxes.service("other").write()
    result = done(attempt(step, "undo", "stop"))
    after = boxes.look()
    assert sorted(after) == ["api"]
    assert {k: v for k, v in after["api"].items() if k != "id"} == \
        {k: v for k, v in before.items() if k != "id"}, result["log"]
    kept = step.record_dir("stop") / "kept" / "compose-app"
    assert "MOOD" in (kept / "docker-compose.yml").read_text()
    assert kept.stat().st_mode & 0o077 == 0


def noted_tags(step):
    """The names that this job has noted for images."""
    return {p.name[len("image-"):] for p in (step.job_dir / ".held").glob("image-*")}


def kept_tags(boxes):
    return set(boxes.docker("images", "updd-kept", "--format", "{{.Tag}}").stdout.split())


def test_images_that_the_undo_needs_outlive_a_clean_up(step, boxes):
    boxes.service("api").service("web", health=False).up().until_healthy("api")
    before = boxes.look()["api"]
    service(step, remove=True)
    result = done(attempt(step, "do", "stop"))
    tag, = noted_tags(step)  # one image, whoever has it
    assert tag in kept_tags(boxes)
    assert before["image"] in result["log"]
    boxes.image("1", mark="another")
    boxes.docker("image", "prune", "--force")
    done(attempt(step, "undo", "stop"))
    assert boxes.look()["api"]["image"] == before["image"] and boxes.running() == ["api", "web"]
    assert done(step.do("@images", "release", {"images": True}))["outputs"] == {}
    assert noted_tags(step) == set()
    assert boxes.look()["api"]["image"] == before["image"] and boxes.running() == ["api", "web"]
    boxes.docker("image", "inspect", before["image"])


def test_the_names_of_kept_images_go_when_the_way_back_does(step, boxes):
    boxes.image("2", mark="own")
    boxes.service("api", image="updd-boxes/busybox:2").up().until_healthy("api")
    service(step, remove=True)
    done(attempt(step, "do", "stop"))
    tag, = noted_tags(step)
    boxes.docker("rmi", "updd-boxes/busybox:2")
    assert tag in kept_tags(boxes)
    for _ in range(2):
        done(step.do("@images", "release", {"images": True}))
        assert tag not in kept_tags(boxes) and noted_tags(step) == set()
    assert boxes.docker("images", "--filter", "label=mark=xown", "-q").stdout == ""


def test_an_image_that_is_gone_is_nothing_to_keep(step, boxes):
    boxes.image("3", mark="gone")
    boxes.service("api", image="updd-boxes/busybox:3").up().until_healthy("api")
    boxes.docker("rmi", "--force", "updd-boxes/busybox:3")
    service(step)
    done(attempt(step, "do", "stop"))
    done(attempt(step, "undo", "stop"))
    assert boxes.running() == ["api"]
    done(step.do("@images", "release", {"images": True}))


def test_new_images_need_as_much_room_as_those_they_stand_beside(step, boxes):
    boxes.service("api").up().until_healthy("api")
    size = int(boxes.docker("image", "inspect", "--format", "{{.Size}}",
                            boxes.look()["api"]["image"]).stdout)
    save = {"step": "pull", "verb": "compose", "cwd": [], "when": [],
            "args": {"project": "shop", "args": ["pull"]}}
    env = {"DOCKER_HOST": boxes.host}

    def shares(words):
        save["args"]["args"] = words
        result = done(step.check("way-back", {"saves": [save], "steps": 1}, env=env))
        space = result["checks"][0]["space"]
        return [s for f in space["filesystems"] for s in f["shares"]
                if s["step"] == "pull"], space["not_estimated"]

    (share,), unknown = shares(["pull"])
    assert size <= share["bytes"] <= 2 * size + (1 << 20) and not unknown
    assert shares(["build", "--pull", "api"])[0] == [share]
    found, unknown = shares(["pull", "other"])
    assert not found and "nothing runs" in unknown[0]["why"]


def test_what_did_not_run_does_not_run_after_the_undo(step, boxes):
    shop(boxes)
    boxes.compose("stop", "web")
    service(step, "app", **{"except": ["db"]})
    done(attempt(step, "do", "stop"))
    done(attempt(step, "undo", "stop"))
    assert boxes.running() == ["api", "db"]
    assert boxes.look()["web"]["restart"] == "unless-stopped"


def test_a_service_that_the_files_do_not_name_any_more_is_stopped_too(step, boxes):
    shop(boxes)
    del boxes.services["web"]
    boxes.write()
    service(step, "app", **{"except": ["db"]})
    done(attempt(step, "do", "stop"))
    assert boxes.running() == ["db"]
    done(attempt(step, "undo", "stop"))
    assert boxes.running() == ["api", "db", "web"]


def test_the_undo_demands_only_the_health_that_there_was(step, boxes):
    boxes.service("api", dockerd.SILENT).up()
    boxes.until(lambda now: now["api"]["health"] == "unhealthy")
    service(step)
    done(attempt(step, "do", "stop"))
    done(attempt(step, "undo", "stop"))
    assert boxes.running() == ["api"]


def test_nothing_is_stopped_that_could_not_be_made_again(step, boxes):
    boxes.service("api").up()
    (boxes.folder / "docker-compose.yml").write_text("services: [")
    service(step, remove=True)
    result = attempt(step, "do", "stop")
    assert result["state"] == "failed" and boxes.running() == ["api"], result


def test_a_stop_that_was_killed_halfway_is_undone(step, boxes):
    boxes.service("api", "trap '' TERM; touch /tmp/healthy; sleep 1000000 & wait; wait",
                  stop_grace_period="60s")
    boxes.service("web", health=False).up().until_healthy("api")
    before = boxes.look()
    service(step)
    running = attempt(step, "do", "stop", wait=False)
    running.until(lambda: step.record("stop") and boxes.look()["api"]["restart"] == "no")
    running.kill()
    boxes.docker("kill", before["api"]["name"])
    done(attempt(step, "undo", "stop"))
    assert boxes.running() == ["api", "web"]
    assert boxes.look()["api"]["restart"] == "unless-stopped"


# ---- start --------------------------------------------------------------------------------------


def test_start_brings_up_what_counts_and_its_undo_takes_it_away(step, boxes):
    boxes.service("api").service("web", health=False).service("db").up("db").until_healthy("db")
    before = boxes.look()
    service(step, "app", **{"except": ["db"]})
    assert done(attempt(step, "do", "start"))["outputs"]["started"] == ["app"]
    now = boxes.look()
    assert now["api"]["health"] == "healthy" and now["web"]["running"]
    assert now["db"] == before["db"]
    done(attempt(step, "undo", "start"))
    assert boxes.look() == before
    done(attempt(step, "undo", "start"))
    assert boxes.look() == before


def test_what_is_up_already_is_not_ours(step, boxes):
    shop(boxes)
    before = boxes.look()
    service(step)
    assert done(attempt(step, "do", "start"))["outputs"]["started"] == []
    done(attempt(step, "undo", "start"))
    assert boxes.look() == before


def test_an_unhealthy_container_fails_the_start_with_its_last_lines(step, boxes):
    boxes.service("api", dockerd.SILENT).write()
    service(step)
    began = time.monotonic()
    result = attempt(step, "do", "start", timeout_ms=300000)
    assert result["state"] == "failed" and time.monotonic() - began < 60
    assert "app is not up" in result["error"]["message"]
    assert "its healthcheck fails" in result["error"]["message"]
    assert "api cannot reach its settings" in "\n".join(result["services"]["app"])
    done(attempt(step, "undo", "start"))
    assert boxes.look() == {}


def test_a_container_that_dies_fails_the_start_at_once(step, boxes):
    boxes.service("api", dockerd.DIES, health=False, restart="no").write()
    service(step)
    began = time.monotonic()
    result = attempt(step, "do", "start", timeout_ms=300000)
    assert result["state"] == "failed" and time.monotonic() - began < 60
    assert "exit code 3" in result["error"]["message"]
    assert "api gives up" in "\n".join(result["services"]["app"])


def test_a_container_that_stays_in_starting_is_told_before_the_limit_is_over(step, boxes):
    boxes.service("api", dockerd.SILENT)
    boxes.services["api"]["healthcheck"]["retries"] = 10000
    boxes.write()
    service(step)
    result = attempt(step, "do", "start", timeout_ms=15000)
    assert result["state"] == "failed" and result["reason"] != "timeout", result
    assert "within the step's time" in result["error"]["message"]
    assert result["services"]["app"]


def test_a_start_after_a_stop_gives_back_the_restart_policy(step, boxes):
    shop(boxes)
    before = boxes.look()
    service(step, "app", **{"except": ["db"]})
    done(attempt(step, "do", "stop"))
    done(attempt(step, "do", "start"))
    now = boxes.look()
    assert {n: c["restart"] for n, c in now.items()} == {n: c["restart"] for n, c in before.items()}
    done(attempt(step, "undo", "start"))
    assert boxes.running() == ["db"] and boxes.look()["api"]["restart"] == "no"
    done(attempt(step, "undo", "stop"))
    assert boxes.look() == before


def test_what_a_person_started_meanwhile_gets_its_restart_policy_back(step, boxes):
    shop(boxes)
    before = {n: c["restart"] for n, c in boxes.look().items()}
    service(step, "app", **{"except": ["db"]})
    done(attempt(step, "do", "stop"))
    boxes.docker("start", *(boxes.look()[name]["id"] for name in ("api", "web")))
    boxes.until_healthy("api")
    assert done(attempt(step, "do", "start"))["outputs"]["started"] == []
    assert {n: c["restart"] for n, c in boxes.look().items()} == before


def test_a_new_version_and_back_again(step, boxes):
    """The whole way of an upgrade by compose: down, new file, up, and everything undone."""
    shop(boxes)
    before, old = boxes.look(), (boxes.folder / "docker-compose.yml").read_bytes()
    service(step, "app", remove=True, **{"except": ["db"]})
    done(attempt(step, "do", "stop"))
    del boxes.services["web"], boxes.services["api"]
    boxes.service("app2").write()
    done(attempt(step, "do", "start"))
    assert boxes.running() == ["app2", "db"]
    done(attempt(step, "undo", "start"))
    (boxes.folder / "docker-compose.yml").write_bytes(old)
    result = done(attempt(step, "undo", "stop"))
    assert "files have changed" not in result["log"]
    after = boxes.look()
    assert after["db"] == before["db"] and boxes.running() == ["api", "db", "web"]

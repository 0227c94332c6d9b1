"""The live page in a real Chromium: python dashboard.py PROGRAM WORK_FOLDER [FOLDER_FOR_SCREENSHOTS]"""

import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from playwright.sync_api import expect, sync_playwright

program = os.path.abspath(sys.argv[1])
work = pathlib.Path(sys.argv[2])
shots = pathlib.Path(sys.argv[3]).absolute() if len(sys.argv) > 3 else None
PATIENCE = 60_000  # Chromium on a busy machine takes its time.


def cotangent(*words):
    return subprocess.run([program, *words], cwd=work, check=True, capture_output=True, text=True)


def served(*words):
    """A program that serves, and the address that it tells."""
    environment = {**os.environ, "SSH_CONNECTION": "10.0.0.2 50000 10.0.0.9 22", "USER": "ada"}
    process = subprocess.Popen([program, *words], cwd=work, stderr=subprocess.PIPE, text=True, env=environment)
    for line in process.stderr:
        if line.startswith("  dashboard: "):
            address = line.split()[1]
            forward = process.stderr.readline()
            port = address.split(":")[2].split("/")[0]
            assert forward.strip().endswith(f"ssh -L {port}:127.0.0.1:{port} ada@10.0.0.9"), forward
            return process, address, int(port)
    raise AssertionError("the program ended without an address")


def refused(port, path, headers=None, method="GET", body=None):
    """The status of an answer to a request as no browser of ours would send it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    headers = {"Host": f"127.0.0.1:{port}", **(headers or {})}
    if body is not None:
        headers["Content-Length"] = str(len(body))
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def check_doors(port):
    """What must not be answered."""
    assert refused(port, "/api/runs") == 200
    assert refused(port, "/api/runs", {"Host": "localhost"}) == 200
    for host in ["evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""]:
        assert refused(port, "/api/runs", {"Host": host}) in (400, 403), host
    assert refused(port, "/api/runs", {"Origin": "http://evil.example"}) == 403
    assert refused(port, "/api/runs", {"Sec-Fetch-Site": "cross-site"}) == 403
    for name in ["..", "../secret", "%2e%2e%2fsecret", "/etc", "first/../../secret", "first%00", "latest", ""]:
        assert refused(port, f"/api/run?name={name}") == 404, name
        assert refused(port, f"/report?name={name}") == 404, name
    for path in ["/../../etc/passwd", "/page.js/../../x", "/%2e%2e/x", "/runs/first/run.json"]:
        assert refused(port, path) in (400, 404), path
    assert refused(port, "/api/draw?name=first") == 405
    assert refused(port, "/api/draw?name=first", method="POST", body=b"[1, 2]") == 422
    assert refused(port, "/api/draw?name=first", method="POST", body=b"{") == 400
    assert refused(port, "/api/draw?name=first", method="POST", body=b"[" + b" " * (5 << 20)) in (400, 413)
    assert refused(port, "/api/cell?name=first&truth=x") == 400
    assert refused(port, "/api/picture?name=first&index=10000000") == 422


def until(page, true):
    """Waits for something; the page's own policy forbids Playwright to do it there."""
    for _ in range(PATIENCE // 100):
        if true():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it never came true")


def no_sideways(page, what):
    """Nothing is wider than the window."""
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window, f"{what}: {wide} in {window}"


def draw_one(page):
    """A vertical stroke on the pad."""
    box = page.locator("canvas.pad").bounding_box()
    x, y = box["x"] + box["width"] * 0.5, box["y"]
    page.mouse.move(x, y + box["height"] * 0.2)
    page.mouse.down()
    for part in range(20, 82, 3):
        page.mouse.move(x + part / 40, y + box["height"] * part / 100)
    page.mouse.up()


def look_around(page, address, name):
    """Every page of a run shows what it should; a screenshot of each."""

    def shot(title):
        no_sideways(page, title)
        if shots:
            page.screenshot(path=shots / f"{title}-{name}.png", full_page=True)

    page.goto(address)
    expect(page.get_by_role("link", name="first")).to_be_visible()
    page.get_by_label("compare first").check()
    page.get_by_label("compare second").check()
    expect(page.get_by_role("heading", name="Settings that differ")).to_be_visible()
    expect(page.locator("th", has_text="optim.lr")).to_be_visible()
    expect(page.locator(".uplot").first).to_be_visible()
    shot("runs")

    page.get_by_role("link", name="first", exact=True).click()
    expect(page.locator(".uplot")).to_have_count(5)
    expect(page.locator(".tiles")).to_contain_text("test accuracy")
    page.get_by_label("logarithmic loss").uncheck()
    page.get_by_label("smoothing").fill("0.9")
    expect(page.locator("pre")).to_contain_text("test images")
    shot("curves")

    page.get_by_role("link", name="Model").click()
    expect(page.get_by_alt_text("filters of conv1.weight")).to_be_visible()
    expect(page.locator(".bars")).to_have_count(20)
    expect(page.get_by_label("Update-to-weight ratio by epoch").locator(".uplot")).to_be_visible()
    expect(page.locator(".layers")).to_contain_text("update/weight")
    shot("model")

    page.get_by_role("link", name="Errors").click()
    cell = page.locator(".confusion tbody tr").nth(4).locator("button").last
    cell.click()
    picture = page.locator("[aria-live] img").first
    expect(picture).to_be_visible()
    until(page, lambda: picture.evaluate("image => image.naturalWidth") == 28)
    expect(page.get_by_role("heading", name="The worst mistakes")).to_be_visible()
    shot("errors")

    page.get_by_role("link", name="Draw").click()
    draw_one(page)
    top = page.locator(".probabilities .top")
    expect(top).to_be_visible()
    expect(page.locator(".layers img")).to_have_count(7)
    expect(top.locator("span").first).to_have_text("1")
    shot("draw")

    page.get_by_role("link", name="Settings").click()
    expect(page.locator("pre").first).to_have_text("cotangent train --resume runs/first")
    expect(page.locator("dl")).to_contain_text("seed")
    shot("settings")


def by_keyboard(page, address):
    """From the address line to a drawing without a pointer."""
    page.goto(address)
    expect(page.get_by_role("link", name="first", exact=True)).to_be_visible()
    page.locator("body").press("Tab")
    for _ in range(12):
        if page.evaluate("document.activeElement.textContent") == "first":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Draw")).to_be_visible()
    page.get_by_role("link", name="Draw").focus()
    page.keyboard.press("Enter")
    pad = page.locator("canvas.pad")
    expect(pad).to_be_visible()
    pad.focus()
    for key in ["ArrowUp"] * 8 + ["Space"] + ["ArrowDown"] * 16:
        page.keyboard.press(key)
    expect(page.locator(".probabilities .top span").first).to_have_text("1")
    page.keyboard.press("Escape")
    expect(page.locator(".probabilities .top")).to_have_count(0)


def while_it_trains(browser):
    """The page of a run that goes on follows it, and says so when it has ended."""
    process, address, port = served("train", "--data", "mnist", "--epochs", "3", "--name", "live", "--dashboard", "--threads", "1")
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.locator("#live")).to_contain_text("running")
    expect(page.locator(".uplot").first).to_be_visible()
    newest = "fetch('/api/run?name=live').then(r => r.json()).then(r => r.newest)"
    first = page.evaluate(newest)
    until(page, lambda: page.evaluate(newest) > first)
    expect(page.locator(".tiles b").nth(2)).to_have_text(re.compile("[123]"))
    page.get_by_role("link", name="Model").click()
    epoch = page.get_by_label("epoch of the histograms")
    expect(epoch).to_have_attribute("max", re.compile("[12]"))
    epoch.focus()
    page.keyboard.press("Home")
    expect(page.locator("output")).to_have_text("1")
    process.wait(timeout=200)
    expect(page.locator("#live")).to_contain_text("the program has ended")
    page.close()


shutil.rmtree(work / "runs", ignore_errors=True)
(work / "secret").mkdir(exist_ok=True)
(work / "secret/run.json").write_text(json.dumps({"status": "secret"}))
cotangent("train", "--epochs", "1", "--name", "first", "--set", "log.every=20")
cotangent("train", "--epochs", "1", "--name", "second", "--lr", "0.01", "--model", "softmax")
if shots:
    shots.mkdir(parents=True, exist_ok=True)

process, address, port = served("dashboard", "--port", "0")
try:
    check_doors(port)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        expect.set_options(timeout=PATIENCE)
        for scheme in ["light", "dark"]:
            for width in [1280, 360]:
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                context.set_default_timeout(PATIENCE)
                page = context.new_page()
                wrong = []
                page.on("pageerror", lambda error: wrong.append(str(error)))
                page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
                page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith((address, "data:")) else None)
                look_around(page, address, f"{width}-{scheme}")
                if width == 1280 and scheme == "light":
                    by_keyboard(page, address)
                assert not wrong, wrong
                context.close()
        while_it_trains(browser)
        browser.close()
finally:
    process.kill()
print("the page works at 1280 and 360 pixels, in light and dark, by pointer and by keyboard")

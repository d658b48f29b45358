"""Uses the server's page in a real browser, as a person does, and prints what was seen as JSON.

usage: page_test.py URL PHOTO [--screenshot OUT.png]

tests/serve/page.rs runs it and judges; scripts/setup-browser.sh makes its environment.
"""

import argparse
import json
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SOON = 60


def browser(language, width, height):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    # Without a sandbox, because tests often run as root in a container.
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--lang={language}"]:
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    # The window of a headless browser has a least width; a phone's screen does not.
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    return driver


def wait(driver, condition):
    return WebDriverWait(driver, SOON).until(condition)


def shown(driver, name):
    element = driver.find_element(By.ID, name)
    return element.text if element.is_displayed() else None


def classify(driver, photo):
    driver.find_element(By.ID, "file").send_keys(photo)
    wait(driver, lambda d: shown(d, "answer-title"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("photo")
    parser.add_argument("--screenshot")
    args = parser.parse_args()
    seen = {}

    driver = browser("en", 1000, 900)
    try:
        driver.get(args.url)
        classify(driver, args.photo)
        seen["title"] = shown(driver, "answer-title")
        rows = driver.find_elements(By.CSS_SELECTOR, "#classes button")
        seen["rows"] = [row.text.split("\n") for row in rows]
        image = "return [arguments[0].naturalWidth, arguments[0].naturalHeight]"
        for name in ["photo", "map"]:
            element = driver.find_element(By.ID, name)
            wait(driver, lambda d: d.execute_script(image, element)[0] > 0)
            seen[name] = driver.execute_script(image, element)
        # The slider, by keyboard.
        opacity = "return getComputedStyle(document.getElementById('map')).opacity"
        before = driver.execute_script(opacity)
        driver.find_element(By.ID, "opacity").send_keys(Keys.END)
        seen["opacity"] = [before, driver.execute_script(opacity)]
        driver.find_element(By.ID, "opacity").send_keys(Keys.ARROW_LEFT * 10)
        # Another class, by keyboard: its heat map is another picture.
        first = driver.find_element(By.ID, "map").get_attribute("src")
        rows[1].send_keys(Keys.ENTER)
        wait(driver, lambda d: d.find_element(By.ID, "map").get_attribute("src") != first)
        seen["second_map"] = shown(driver, "map-title")
        if args.screenshot:
            rows = driver.find_elements(By.CSS_SELECTOR, "#classes button")
            rows[0].send_keys(Keys.ENTER)
            time.sleep(1)
            driver.save_screenshot(args.screenshot)
        seen["card"] = shown(driver, "card")
        # A file that is not a photo.
        driver.find_element(By.ID, "file").send_keys(__file__)
        wait(driver, lambda d: "bad" in d.find_element(By.ID, "status").get_attribute("class"))
        seen["no_photo"] = shown(driver, "status")
        # Every control has a name that a screen reader says.
        seen["unnamed"] = driver.execute_script(
            """return [...document.querySelectorAll('button, input, img, select')]
              .filter((e) => e.checkVisibility() && !(e.labels?.length || e.textContent.trim() || e.alt))
              .map((e) => e.outerHTML.slice(0, 80))"""
        )
        seen["requests"] = driver.execute_script(
            "return performance.getEntriesByType('resource').map((e) => e.name)"
        )
        seen["console"] = [entry["message"] for entry in driver.get_log("browser")]
    finally:
        driver.quit()

    driver = browser("vi", 390, 844)
    try:
        driver.get(args.url)
        classify(driver, args.photo)
        seen["vi_title"] = shown(driver, "answer-title")
        seen["vi_lang"] = driver.execute_script("return document.documentElement.lang")
        # Nothing is wider than the phone.
        seen["vi_overflow"] = driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        driver.find_element(By.CSS_SELECTOR, "[data-language=en]").click()
        seen["switched"] = shown(driver, "answer-title")
    finally:
        driver.quit()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()

// Live pages without a reload, and times in the reader's own zone; everything can be read without this script.
"use strict";

const LONGEST_SECONDS = 60;

function showLocalTimes(within) {
  for (const element of within.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (!Number.isNaN(at.getTime())) element.title = at.toLocaleString(undefined, { timeZoneName: "short" });
  }
}

function mayBeReplaced(element) {
  // Nothing is taken from under a cursor, a selection or an opened detail.
  const selection = document.getSelection();
  return !element.contains(document.activeElement)
    && !(selection && !selection.isCollapsed && element.contains(selection.anchorNode))
    && !element.querySelector("details[open]");
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const element of document.querySelectorAll("[data-live]")) {
    const news = fresh.getElementById(element.id);
    if (news && news.innerHTML !== element.innerHTML && mayBeReplaced(element)) {
      element.replaceWith(news);
      showLocalTimes(news);
    }
  }
}

function keepFresh() {
  const live = [...document.querySelectorAll("[data-live]")];
  if (live.length === 0) return;
  const usual = Math.min(...live.map((element) => Number(element.dataset.live) || LONGEST_SECONDS));
  let seconds = usual;
  const again = async () => {
    try {
      if (!document.hidden) await refresh();
      seconds = usual;
    } catch {
      seconds = Math.min(seconds * 2, LONGEST_SECONDS);
    }
    setTimeout(again, seconds * 1000);
  };
  setTimeout(again, seconds * 1000);
}

function keepFromSendingTwice() {
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.forms) delete form.dataset.sent;
  });
}

showLocalTimes(document);
keepFresh();
keepFromSendingTwice();

/* The captive portal's pages: the status asks again by itself, and the router's door opens by itself. No htmx here: its
   50 KB are too many for a first load on 2G; the attributes are its own, so one fragment serves both. */
(function (doc) {
var timer, asked;
function tell(name, node) { node.dispatchEvent(new CustomEvent("htmx:" + name, {bubbles: true, detail: {target: node}})); }
function plan() {
  var box = doc.querySelector("[hx-get]"), every = box && /every (\d+)s/.exec(box.getAttribute("hx-trigger"));
  clearTimeout(timer);
  if (every) timer = setTimeout(ask, every[1] * 1000, box);
  open();
}
function ask(box) {
  if (asked || !box) return;
  asked = new XMLHttpRequest();
  asked.open("GET", box.getAttribute("hx-get"));
  asked.setRequestHeader("HX-Request", "true");
  asked.timeout = 15000;
  asked.onloadend = function () {
    var got = asked;
    asked = null;
    if (got.status === 200 && doc.contains(box)) show(box, got.responseText);
    else tell(got.status ? "afterOnLoad" : "sendError", doc.body);
    plan();
  };
  asked.send();
}
function show(box, text) {
  var read = doc.createElement("div"), held = doc.activeElement && doc.activeElement.id, now;
  read.innerHTML = text;
  now = read.querySelector("#" + box.id);
  if (!now) return;
  tell("beforeSwap", box);
  box.parentNode.replaceChild(now, box);
  [].forEach.call(read.querySelectorAll("[hx-swap-oob]"), function (part) {
    var place = doc.getElementById(part.id);
    if (place) place.innerHTML = part.innerHTML;
  });
  if (read.querySelector("title")) doc.title = read.querySelector("title").textContent;
  tell("afterSwap", now);
  tell("afterOnLoad", now);
  if (held && (held = doc.getElementById(held))) held.focus();
}
/* The code is read before the router takes the page away; a router that lets nobody in is not asked again and again. */
function open() {
  var way = doc.querySelector("[data-opens-in]"), after = way && +way.getAttribute("data-opens-in");
  if (!way) return;
  way.removeAttribute("data-opens-in");
  setTimeout(function () {
    if (doc.contains(way)) way.click();
  }, after * 1000);
}
doc.addEventListener("visibilitychange", function () { if (!doc.hidden) ask(doc.querySelector("[hx-get]")); });
plan();
})(document);

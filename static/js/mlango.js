/* Every page works without this. No storage, no cookies, no eval. */
(function (doc) {
function each(selector, act) { [].forEach.call(doc.querySelectorAll(selector), act); }
function on(name, act, early) { doc.addEventListener(name, act, early); }
function get(node, name) { return node.getAttribute("data-" + name); }
function digits(text) { return text.replace(/\D/g, ""); }
function say(button, text) { /* no text: what it said at first */
  var label = button.querySelector("[data-label]");
  button.first = button.first || label.textContent;
  label.textContent = text || button.first;
}

/* Phone: grouped as typed; the hint's words come with the page, in its language. */
function judge(input, left) {
  var hint = doc.getElementById(input.id + "-live"), number = digits(input.value);
  if (!hint) return;
  var good = /^(254|0)?[17]\d{8}$/.test(number), may = /^(0|254)?([17]\d{0,8})?$|^25?$/.test(number);
  var look = good ? "good" : number && (left || !may) ? "bad" : "", text = look && get(input, look);
  if (hint.textContent !== text) hint.textContent = text;
  hint.className = "hint live " + look;
}
on("input", function (e) {
  var input = e.target, old = input.value, i = 0;
  if (get(input, "phone") === null) return;
  var all = digits(old), head = all[0] === "0" ? 4 : 3, before = digits(old.slice(0, input.selectionStart)).length;
  var text = (/^\s*\+/.test(old) ? "+" : "") + [all.slice(0, head)].concat(all.slice(head).match(/.{1,3}/g) || []).join(" ");
  if (text !== old) {
    input.value = text;
    while (before && i < text.length) if (/\d/.test(text[i++])) before--;
    input.setSelectionRange(i, i);
  }
  judge(input);
});
on("focusout", function (e) { if (get(e.target, "phone") !== null) judge(e.target, true); });

/* The button names the chosen price. */
function price() {
  each("[data-price]:checked", function (chosen) {
    each("[data-with-price]", function (out) { out.textContent = get(out, "with-price").replace("{}", get(chosen, "price")); });
  });
}
on("change", price);

/* Copy, also without a clipboard API (captive browsers): then it stays selected. */
on("click", function (e) {
  var button = e.target.closest("[data-copy]");
  if (!button) return;
  function done() {
    say(button, get(button, "copied"));
    setTimeout(say, 2000, button);
  }
  function byHand() {
    getSelection().selectAllChildren(doc.getElementById(button.getAttribute("aria-controls")));
    if (doc.execCommand("copy")) done();
  }
  if (navigator.clipboard) navigator.clipboard.writeText(get(button, "copy")).then(done, byHand);
  else byHand();
});

/* One submit at a time; released by an answer, by coming back, or after 20 s. */
function release(form) {
  if (!form.busy) return;
  say(form.busy);
  price();
  form.busy.classList.remove("busy");
  form.busy = null;
}
on("submit", function (e) {
  var form = e.target, button = form.querySelector("[data-busy]");
  if (form.busy) { e.preventDefault(); e.stopImmediatePropagation(); }
  if (form.busy || !button) return;
  form.busy = button;
  button.style.minWidth = button.offsetWidth + "px";
  say(button, get(button, "busy"));
  button.classList.add("busy");
  setTimeout(release, 20000, form);
}, true);
addEventListener("pageshow", function () { each("form", release); });
on("htmx:afterRequest", function (e) { release(e.target); });

/* The menu of a phone closes on Esc, by a tap beside it, and when it led somewhere. */
function shut(e) {
  var isKey = e.type === "keydown";
  if (isKey && e.key !== "Escape") return;
  each(".more details[open]", function (menu) {
    if (!isKey && e.type === "click" && menu.contains(e.target) && !e.target.closest("a")) return;
    menu.open = false;
    if (isKey) menu.firstElementChild.focus();
  });
}
on("click", shut);
on("keydown", shut);
addEventListener("pageshow", shut);

/* Countdown while M-Pesa would refuse. */
function tick() {
  each("[data-countdown]", function (button) {
    var left = +get(button, "countdown");
    button.disabled = left > 0;
    say(button, left > 0 && get(button, "wait").replace("{}", (left / 60 | 0) + ":" + ("0" + left % 60).slice(-2)));
    button.setAttribute("data-countdown", left - 1);
    if (left < 1) button.removeAttribute("data-countdown");
  });
}
setInterval(tick, 1000);
on("htmx:afterSwap", tick);

/* What comes in by itself neither closes nor opens what the reader has chosen, and loses nothing typed. */
var chosen = {}, typed = {};
function named(fold) { return fold.id || fold.querySelector("summary").textContent; }
on("click", function (e) {
  var name = e.target.closest("main summary");
  if (name) chosen[named(name.parentNode)] = !name.parentNode.open;
});
function keep(selector) {
  return function (e) {
    if (e.detail.target) [].forEach.call(e.detail.target.querySelectorAll(selector), function (input) {
      if (input.id && input.value !== input.defaultValue) typed[input.id] = input.value;
    });
  };
}
function restore() {
  each("main details", function (fold) {
    if (named(fold) in chosen) fold.open = chosen[named(fold)];
  });
  Object.keys(typed).forEach(function (id) {
    var input = doc.getElementById(id);
    if (input && !input.value) input.value = typed[id];
  });
  typed = {};
}
on("htmx:beforeSwap", keep("input[data-phone]"));
on("htmx:oobBeforeSwap", keep("input:not([type=hidden]), textarea"));
on("htmx:afterSwap", restore);
on("htmx:oobAfterSwap", restore);

/* Without a connection the page says so. */
function lost(e) { each("#offline", function (box) { box.hidden = e.type !== "htmx:sendError"; }); }
on("htmx:sendError", lost);
on("htmx:afterOnLoad", lost);

on("click", function (e) { if (e.target.closest("[data-print]")) print(); });

doc.documentElement.className += " js";
price();
tick();
})(document);

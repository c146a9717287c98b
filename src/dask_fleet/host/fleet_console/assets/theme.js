// Before the page is drawn: that there is JavaScript, and the colours that were chosen, if any were.
"use strict";
{
  document.documentElement.dataset.script = "yes";
  const chosen = (() => {
    try {
      return localStorage.getItem("fleet-colours");
    } catch {
      return null; // a browser may refuse to keep anything
    }
  })();
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.colours = chosen;
}

/* What must be known before the page is drawn, so that it never flashes: light or dark, and whether a conversation goes on. */
"use strict";
(() => {
  const names = { system: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };
  const order = Object.keys(names);

  function kept() {
    try {
      const value = localStorage.getItem("ragline-theme");
      return order.includes(value) ? value : "system";
    } catch {
      return "system"; // a browser may refuse to store anything
    }
  }

  function show(theme) {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    button?.setAttribute("aria-label", names[theme]);
    button?.setAttribute("title", names[theme]);
  }

  function next() {
    const theme = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length];
    show(theme);
    try {
      localStorage.setItem("ragline-theme", theme);
    } catch {
      // it holds until the page is left
    }
  }

  function goesOn() {
    try {
      return Boolean(sessionStorage.getItem("ragline-conversation"));
    } catch {
      return false;
    }
  }

  show(kept());
  document.documentElement.classList.toggle("returning", goesOn()); // until its turns are fetched
  document.addEventListener("DOMContentLoaded", () => {
    show(document.documentElement.dataset.theme);
    document.getElementById("theme").addEventListener("click", next);
  });
})();

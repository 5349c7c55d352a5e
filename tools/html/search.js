// The search box. index.js has manualIndex: {title, kind, page, url, text} of each page,
// section, command, option and error. All works from files, without a server.
"use strict";

const kindWeights = {page: 8, command: 6, option: 5, section: 3, error: 2, term: 0};

// How well some words fit a name: 0, or more for a better place in it.
function fit(words, name) {
    let best = 0;
    for (let at = name.indexOf(words); at >= 0; at = name.indexOf(words, at + 1)) {
        const begins = at === 0 || !/[a-z0-9]/.test(name[at - 1]);
        const ends = !/[a-z0-9]/.test(name[at + words.length] || " ");
        best = Math.max(best, 20 + (begins ? 20 : 0) + (ends ? 10 : 0));
    }
    return best + (name === words ? 30 : 0);
}

// The entries in which all words occur, the best first.
function findEntries(index, query, most) {
    const words = query.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const found = [];
    for (const entry of index) {
        const name = entry.title.toLowerCase();
        const text = entry.text.toLowerCase();
        let score = kindWeights[entry.kind] - name.length / 50 + fit(words.join(" "), name);
        let all = words.length > 0;
        for (const word of words) {
            const one = fit(word, name) || (text.includes(word) ? 2 : 0);
            all = all && one > 0;
            score += one;
        }
        if (all) {
            found.push({entry, score});
        }
    }
    found.sort((a, b) => b.score - a.score);
    return found.slice(0, most).map((one) => one.entry);
}

function snippet(entry, query) {
    const word = query.toLowerCase().split(/\s+/)[0];
    const at = entry.text.toLowerCase().indexOf(word);
    return at > 60 ? "..." + entry.text.slice(at - 40, at + 120) : entry.text.slice(0, 160);
}

function show(list, entries, query) {
    list.replaceChildren(...entries.map((entry) => {
        const item = document.createElement("li");
        const link = document.createElement("a");
        const more = document.createElement("small");
        link.href = entry.url;
        link.textContent = entry.title;
        more.textContent = entry.page + " · " + snippet(entry, query);
        link.append(more);
        item.append(link);
        return item;
    }));
    if (entries.length === 0) {
        const item = document.createElement("li");
        item.className = "none";
        item.textContent = "nothing found";
        list.append(item);
    }
    list.hidden = query.trim() === "";
}

function start() {
    const input = document.getElementById("query");
    const list = document.getElementById("found");
    const update = () => show(list, findEntries(manualIndex, input.value, 20), input.value);
    input.addEventListener("input", update);
    input.addEventListener("focus", update);
    input.form.addEventListener("submit", (event) => {
        event.preventDefault();
        const first = list.querySelector("a");
        if (first) {
            location.href = first.href;
            list.hidden = true;
        }
    });
    document.addEventListener("keydown", (event) => {
        if (event.key === "/" && document.activeElement !== input) {
            event.preventDefault();
            input.focus();
        } else if (event.key === "Escape") {
            list.hidden = true;
            input.blur();
        }
    });
    document.addEventListener("click", (event) => {
        if (!input.form.contains(event.target) || list.contains(event.target)) {
            list.hidden = true;
        }
    });
}

if (typeof document !== "undefined") {
    start();
}

// Polls the API and patches the server-rendered page in place: values by name, rows by key.
// Never innerHTML: every text from outside goes through textContent.
"use strict";

(() => {
  const TABLE_ROWS = 120;
  const RETRY_MS = 6000;
  const DASH = "–";
  const SPARK = { width: 120, height: 28 };
  const byId = (id) => document.getElementById(id);
  const overview = byId("overview");
  const feed = byId("feed");
  const minutes = overview ? Number(overview.dataset.minutes) : 15;
  const currency = document.body.dataset.currency;
  let serverOffsetMs = Date.parse(document.body.dataset.generated) - Date.now();
  // A long range is a large answer, and its picture hardly changes.
  const pollMs = minutes > 60 ? 10000 : 3000;
  let isPaused = false;

  // --- formats, as in formats.py ---------------------------------------------------------------
  const isKnown = (value) => typeof value === "number" && Number.isFinite(value);
  const number = (value, digits = 0) =>
    isKnown(value)
      ? value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })
      : DASH;
  const compact = (value) => {
    if (!isKnown(value)) return DASH;
    const size = Math.abs(value);
    return number(value, size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2);
  };
  const abbreviated = (value) => {
    for (const [unit, size] of [["T", 1e12], ["B", 1e9], ["M", 1e6]]) {
      const scaled = Math.abs(value) / size;
      if (isKnown(value) && scaled >= 1) {
        return `${number(value / size, scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2)} ${unit}`;
      }
    }
    return number(value);
  };
  const percent = (share) => (isKnown(share) ? `${number(share * 100, 2)} %` : DASH);
  const durationMs = (ms) =>
    !isKnown(ms) ? DASH : ms >= 10000 ? `${number(ms / 1000, 1)} s` : `${number(ms)} ms`;
  const age = (iso) => {
    const seconds = Math.max(0, (Date.now() + serverOffsetMs - Date.parse(iso)) / 1000);
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
    }
    return `${Math.floor(seconds)} s ago`;
  };

  // --- small DOM helpers -----------------------------------------------------------------------
  const setText = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };
  const create = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  };
  const link = (href, ...children) => {
    const element = create("a", "", ...children);
    element.href = href;
    return element;
  };
  // Makes the rows of `body` those of `items`, in order; rows that stay keep their focus.
  const patchRows = (body, items, build, update) => {
    const rows = new Map([...body.rows].map((row) => [row.dataset.id, row]));
    let place = body.firstElementChild;
    for (const item of items) {
      let row = rows.get(item.id);
      rows.delete(item.id);
      if (!row) {
        row = build(item);
        row.dataset.id = item.id;
      }
      update(row, item);
      if (row === place) place = place.nextElementSibling;
      else body.insertBefore(row, place);
    }
    for (const row of rows.values()) row.remove();
  };

  // --- state -----------------------------------------------------------------------------------
  const showState = (state, message, asOf) => {
    const pill = byId("pill");
    if (!pill) return;
    const shown = isPaused ? "paused" : state;
    pill.className = `pill pill-${shown}`;
    pill.title = message;
    setText(byId("state"), shown[0].toUpperCase() + shown.slice(1));
    if (asOf) {
      const time = create("time", "", asOf.slice(11, 19));
      time.dateTime = asOf;
      byId("as-of").replaceChildren(time);
    }
    const banner = byId("banner");
    banner.className = `banner banner-${state}`;
    banner.hidden = state === "live";
    setText(byId("message"), message);
    byId("main").className = `state-${state}`;
  };

  // --- tiles -----------------------------------------------------------------------------------
  const sparkPath = (values) => {
    const peak = Math.max(0, ...values.filter(isKnown)) || 1;
    const step = SPARK.width / Math.max(1, values.length - 1);
    let path = "";
    let pen = "M";
    values.forEach((value, index) => {
      if (!isKnown(value)) {
        pen = "M";
        return;
      }
      const y = SPARK.height - 2 - ((SPARK.height - 4) * value) / peak;
      path += `${pen}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    });
    return path;
  };
  const showTile = (key, value, note, series) => {
    const tile = overview.querySelector(`[data-tile="${key}"]`);
    setText(tile.querySelector('[data-part="value"]'), value);
    setText(tile.querySelector('[data-part="note"]'), note);
    if (series) tile.querySelector('[data-part="spark"]').setAttribute("d", sparkPath(series));
  };
  // The running minute is left out of the curves: it would look like a drop.
  const complete = (data) => (data.series.length > 1 ? data.series.slice(0, -1) : data.series);
  const showTiles = (data) => {
    const series = complete(data);
    const column = (name) => series.map((entry) => entry[name]);
    const perSecond = data.transactions_per_second;
    const latency = data.latency_ms;
    showTile("throughput", compact(isKnown(perSecond) ? perSecond * 60 : null),
      `${number(data.transactions)} transactions`, column("transactions"));
    showTile("alerts", number(data.alerts),
      `${compact(isKnown(data.alerts) ? data.alerts / minutes : null)} per min`, column("alerts"));
    showTile("alert_rate", percent(data.alert_rate), `${number(data.failed)} failed payments`,
      series.map((entry) => (entry.transactions ? entry.alerts / entry.transactions : null)));
    showTile("flagged_amount", abbreviated(data.flagged_amount),
      `of ${abbreviated(data.amount)} ${currency}`, column("flagged_amount"));
    showTile("latency", durationMs(latency.p95),
      `p50 ${number(latency.p50)} · p99 ${number(latency.p99)}`, column("latency_p95_ms"));
    showTile("lag", number(data.lag.messages), `${compact(data.lag.seconds)} s behind`);
  };

  // --- charts ----------------------------------------------------------------------------------
  const charts = new Map();
  const buildChart = (figure, data) => {
    const css = getComputedStyle(document.documentElement);
    const color = (name) => css.getPropertyValue(name).trim();
    const plot = figure.querySelector(".plot");
    const axis = {
      stroke: color("--soft"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
    };
    const isBars = figure.dataset.series === "alerts";
    const options = {
      width: plot.clientWidth,
      height: plot.clientHeight,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { sync: { key: "minute" }, y: false, drag: { x: false, y: false } },
      legend: { show: false },
      scales: { x: { range: (_, low, high) => [low - 30, high + 30] }, y: { range: (_, low, high) => [0, Math.max(high * 1.12, 1)] } },
      series: [
        {},
        {
          stroke: color("--accent"),
          width: isBars ? 0 : 1.8,
          fill: color("--accent") + (isBars ? "" : "1c"),
          points: { show: false },
          spanGaps: false,
          paths: isBars ? uPlot.paths.bars({ size: [0.6, 40] }) : undefined,
        },
      ],
      axes: [
        { ...axis, grid: { show: false }, space: 60, size: 26, values: (u, splits) => splits.map((s) => new Date(s * 1000).toISOString().slice(11, 16)) },
        { ...axis, size: 44, space: 30, values: (u, splits) => splits.map((v) => (v >= 10000 ? `${number(v / 1000)}k` : compact(v))) },
      ],
    };
    return new uPlot(options, data, plot);
  };
  const showCharts = (data) => {
    const section = byId("charts");
    if (!section || typeof uPlot === "undefined") return;
    section.hidden = false;
    const series = complete(data);
    const times = series.map((entry) => Date.parse(entry.minute) / 1000);
    for (const figure of section.querySelectorAll(".chart")) {
      const name = figure.dataset.series;
      const values = series.map((entry) => entry[name]);
      const plotted = [times, values];
      if (charts.has(figure)) charts.get(figure).setData(plotted);
      else charts.set(figure, buildChart(figure, plotted));
      const peak = Math.max(...values.filter(isKnown));
      const at = Number.isFinite(peak) ? series[values.lastIndexOf(peak)].minute.slice(11, 16) : "";
      setText(figure.querySelector('[data-part="peak"]'), at ? `peak ${compact(peak)} at ${at}` : "no data");
    }
  };
  const redrawCharts = () => {
    for (const chart of charts.values()) chart.destroy();
    charts.clear();
    if (lastOverview) showCharts(lastOverview);
  };
  const showSeries = (data) => {
    const columns = ["transactions", "alerts", "amount", "flagged_amount", "failed", "late", "rejected"];
    const items = data.series.slice(-TABLE_ROWS).map((entry) => ({ id: entry.minute, entry })).reverse();
    patchRows(
      byId("series"),
      items,
      (item) => {
        const head = create("th", "", item.id.slice(11, 16));
        head.scope = "row";
        return create("tr", "", head, ...columns.map(() => create("td", "number")), create("td", "number"));
      },
      (row, { entry }) => {
        columns.forEach((name, index) => setText(row.cells[index + 1], number(entry[name])));
        setText(row.cells[columns.length + 1], durationMs(entry.latency_p95_ms));
      },
    );
  };

  // --- alerts ----------------------------------------------------------------------------------
  const SHAPES = { high: "M5 .5 9.8 9.2H.2z", medium: "M5 0 10 5 5 10 0 5z", low: "M5 1a4 4 0 1 0 .01 0z" };
  const severity = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 10 10");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", SHAPES[name] || SHAPES.low);
    svg.append(path);
    return create("span", `severity severity-${name}`, svg, name);
  };
  const fillAlert = (row, alert) => {
    const key = JSON.stringify(alert);
    if (row.dataset.shown === key) return;
    row.dataset.shown = key;
    const href = `/alerts/${encodeURIComponent(alert.id)}`;
    const since = create("span", "age");
    since.dataset.since = alert.scored_at || alert.window_start;
    const account = link(`/accounts/${encodeURIComponent(alert.sender_account)}`, create("bdi", "", alert.sender_account));
    account.className = "account";
    const contents = [
      [severity(alert.severity)],
      [link(href, alert.window_start.slice(11, 16)), " ", since],
      [account],
      [number(alert.transaction_amount, 2), " ", create("span", "unit", currency)],
      [create("span", "score", number(alert.score, 2))],
      [link(href, alert.reason || DASH)],
    ];
    contents.forEach((content, index) => row.cells[index].replaceChildren(...content));
  };
  const showAlerts = (alerts, state) => {
    const known = new Set([...feed.rows].map((row) => row.dataset.id));
    const fresh = alerts.filter((alert) => !known.has(alert.id));
    // Rows must not move under the pointer or take the focus away.
    const isInUse = feed.matches(":hover") || feed.contains(document.activeElement);
    const waiting = isInUse && known.size ? fresh.length : 0;
    setText(byId("waiting"), waiting ? `${waiting} new alert${waiting > 1 ? "s" : ""}` : "");
    if (waiting) return;
    patchRows(
      feed,
      alerts,
      () => create("tr", known.size ? "fresh" : "", ...["", "when", "", "number", "number", "reason"].map((name) => create("td", name))),
      fillAlert,
    );
    byId("no-alerts").hidden = alerts.length > 0;
    setText(byId("no-alerts"), state === "live" || state === "delayed"
      ? "No alert so far. Scoring is running."
      : "No alert is known, and scoring is not up to date: this is not an all-clear.");
  };
  const showAges = () => {
    for (const element of document.querySelectorAll("[data-since]")) setText(element, age(element.dataset.since));
  };

  // --- polling ---------------------------------------------------------------------------------
  let lastOverview = null;
  let timer = 0;
  const fetchJson = async (path) => {
    const response = await fetch(path, { signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.json();
  };
  const poll = async () => {
    clearTimeout(timer);
    let next = pollMs;
    try {
      const [data, page] = await Promise.all([
        fetchJson(`/api/overview?minutes=${minutes}`),
        feed ? fetchJson("/api/alerts?limit=12") : null,
      ]);
      if (isPaused) return;
      lastOverview = data;
      serverOffsetMs = Date.parse(data.generated_at) - Date.now();
      showState(data.state, data.message, data.data_as_of);
      if (overview) {
        showTiles(data);
        showCharts(data);
        showSeries(data);
        showAlerts(page.alerts, data.state);
      }
      showAges();
    } catch (error) {
      next = RETRY_MS;
      const asOf = lastOverview && lastOverview.data_as_of;
      showState("disconnected", `No answer from the server (${error.message}); trying again every ${RETRY_MS / 1000} s`, asOf);
    }
    if (!isPaused && !document.hidden) timer = setTimeout(poll, next);
  };

  const pause = byId("pause");
  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      isPaused = !isPaused;
      pause.setAttribute("aria-pressed", String(isPaused));
      setText(pause, isPaused ? "Resume" : "Pause");
      if (isPaused) {
        clearTimeout(timer);
        if (lastOverview) showState(lastOverview.state, lastOverview.message, lastOverview.data_as_of);
      } else poll();
    });
  }
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !isPaused) poll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawCharts);
  let resizeTimer = 0;
  addEventListener("resize", () => {
    clearTimeout(resizeTimer);
    resizeTimer = setTimeout(redrawCharts, 200);
  });
  poll();
})();

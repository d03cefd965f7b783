// Every sentence of the page in both languages, and numbers and times as each writes them.

const WORDS = {
  title: ["comfybridge", "comfybridge"],
  live: ["Live", "实时"],
  polled: ["Every 2 s", "每 2 秒"],
  live_hint: ["Progress and previews arrive as they happen.", "进度与预览实时更新。"],
  polled_hint: ["No WebSocket: read again every 2 seconds.", "没有 WebSocket：每 2 秒刷新。"],
  away: ["The gateway does not answer. Trying again until it does.", "网关没有响应，正在持续重试。"],
  away_short: ["Away", "离线"],
  broken: ["The gateway is there, but something behind it is not: {0}", "网关正常，但其后端不可用：{0}"],
  sign_in: ["Sign in", "登录"],
  sign_in_lead: ["This service asks for an API key.", "访问本服务需要 API 密钥。"],
  key: ["API key", "API 密钥"],
  key_hint: ["Kept in this tab until it is closed.", "只保存在当前标签页，关闭后即清除。"],
  key_wrong: ["This key is not known, or was revoked.", "密钥不存在或已被吊销。"],
  key_needed: ["A key is needed.", "请输入密钥。"],
  key_how: ["No key? An admin makes one:", "没有密钥？请管理员创建："],
  sign_out: ["Sign out", "退出"],
  admin: ["admin", "管理员"],
  language: ["Language", "语言"],
  running: ["Running", "运行中"],
  waiting: ["Waiting", "等待中"],
  pictures: ["Last pictures", "最新图片"],
  servers: ["Servers", "服务器"],
  troubles: ["Did not succeed", "未成功"],
  versions: ["Template versions", "模板版本"],
  n_running: ["running", "运行中"],
  n_waiting: ["waiting", "等待中"],
  oldest: ["longest wait", "最长等待"],
  servers_up: ["servers up", "服务器在线"],
  last_hour: ["succeeded, last hour", "近一小时成功率"],
  hour_chart: ["Jobs by the minute over the last hour: {0} succeeded, {1} failed", "近一小时每分钟任务数：成功 {0}，失败 {1}"],
  jobs_hour: ["jobs, last hour", "近一小时任务"],
  by: ["for {0}", "来自 {0}"],
  on: ["on {0}", "在 {0}"],
  no_text: ["Workflow without a text", "没有文字的工作流"],
  cancel: ["Cancel", "取消"],
  cancel_of: ["Cancel: {0}", "取消：{0}"],
  cancelling: ["Cancelling…", "正在取消…"],
  cancel_all: ["Cancel all", "全部取消"],
  cancel_all_ask: ["Cancel all {0} waiting jobs?", "取消全部 {0} 个等待中的任务？"],
  cancel_all_mine: ["What runs already goes on. This cannot be taken back.", "已在运行的任务会继续。此操作无法撤销。"],
  cancel_all_admin: [
    "Those of every key. What runs already goes on. This cannot be taken back.",
    "包括所有密钥的任务；已在运行的会继续。此操作无法撤销。",
  ],
  cancel_running_ask: ["Cancel this running job?", "取消正在运行的任务？"],
  keep_it: ["Keep it", "保留"],
  back: ["Back", "返回"],
  next_on: ["next on {0}", "即将在 {0} 运行"],
  starting: ["Starting", "启动中"],
  node_of: ["{0} of {1} nodes done", "已完成 {0}/{1} 个节点"],
  progress: ["Progress", "进度"],
  preview_of: ["Preview: {0}", "预览：{0}"],
  no_running: ["Nothing runs right now.", "当前没有任务在运行。"],
  no_waiting: ["Nothing waits.", "没有等待中的任务。"],
  no_pictures: ["What jobs make appears here.", "任务生成的图片会显示在这里。"],
  no_troubles: ["Nothing failed of late.", "近期没有失败的任务。"],
  no_versions: ["No template has run yet. Versions are counted by themselves.", "还没有模板运行过；版本会自动统计。"],
  no_servers: ["No ComfyUI server yet. Take one in:", "还没有 ComfyUI 服务器。请添加一台："],
  no_jobs: ["No jobs yet. Point the Dify plugin here:", "还没有任务。请将 Dify 插件指向这里："],
  no_jobs_key: ["an API key of this service", "本服务的 API 密钥"],
  no_jobs_no_key: ["leave it empty: there are no keys yet", "留空：目前还没有密钥"],
  no_jobs_docker: ["(Dify in Docker on this machine: {0})", "（Dify 在本机 Docker 中时：{0}）"],
  no_jobs_after: ["Then ask its Text to image tool for a picture, or send a workflow of your own:",
    "然后使用插件的文生图工具，或发送自己的工作流："],
  pause: ["Pause", "暂停"],
  drain: ["Drain", "排空"],
  resume: ["Resume", "恢复"],
  remove: ["Remove", "移除"],
  action_of: ["{0}: {1}", "{0}：{1}"],
  drain_ask: ["Drain {0}?", "排空 {0}？"],
  drain_detail: [
    "It finishes what it has and takes nothing new. Jobs that only it can run are no longer accepted.",
    "它会完成手头的任务，不再接受新任务；只有它能运行的任务将被拒绝。",
  ],
  remove_ask: ["Remove {0}?", "移除 {0}？"],
  remove_detail: [
    "It finishes what it has, then its worker ends. It comes back only when it is added again.",
    "它完成手头的任务后，其工作进程将结束；再次添加后才会恢复。",
  ],
  mode_paused: ["Paused", "已暂停"],
  mode_draining: ["Draining", "排空中"],
  mode_removed: ["Removed", "已移除"],
  health_well: ["Idle", "空闲"],
  health_busy: ["Busy", "忙碌"],
  health_sick: ["Sick", "异常"],
  health_gone: ["Gone", "无响应"],
  health_unknown: ["Unknown", "未知"],
  "Its worker is silent.": ["Its worker is silent.", "其工作进程没有响应。"],
  vram: ["{0} of {1} GB", "{0} / {1} GB"],
  vram_label: ["Video memory used", "显存使用"],
  held: ["{0} running, {1} next", "运行 {0}，待运行 {1}"],
  loaded: ["Loaded: {0}", "已加载：{0}"],
  window: ["Over", "统计范围"],
  window_latest: ["Latest runs", "最近若干次"],
  window_1: ["Last hour", "近一小时"],
  window_24: ["Last 24 hours", "近 24 小时"],
  window_168: ["Last 7 days", "近 7 天"],
  version: ["Version", "版本"],
  gets: ["Gets", "分配"],
  success: ["Success", "成功率"],
  median: ["Median", "中位耗时"],
  p95: ["95 %", "95 分位"],
  runs: ["Runs", "次数"],
  stable: ["stable", "稳定版"],
  share: ["{0} %", "{0}%"],
  rolled_back: ["rolled back", "已回滚"],
  rolled_back_at: ["Rolled back {0}.", "{0}已回滚。"],
  resume_version: ["Try again", "重新启用"],
  resume_ask: ["Give {0} to its callers again?", "重新启用 {0}？"],
  resume_detail: ["Runs from before no longer count.", "之前的运行不再计入。"],
  attention: ["Needs attention", "需要关注"],
  alert_server_sick: ["{0} is sick.", "{0} 状态异常。"],
  alert_server_gone: ["{0} does not answer.", "{0} 没有响应。"],
  alert_backlog: ["Jobs wait longer than they should.", "任务等待时间过长。"],
  alert_success_rate: ["{0} fails too often.", "{0} 失败过多。"],
  event_rollback: ["{0} was rolled back.", "{0} 已自动回滚。"],
  event_degraded: ["{0}, the stable version, is below its threshold.", "稳定版 {0} 低于阈值。"],
  undelivered: ["Webhooks given up in the last day: {0}", "近一天放弃投递的 webhook：{0}"],
  outcome_failed: ["Failed", "失败"],
  outcome_rejected: ["Rejected", "被拒绝"],
  outcome_timed_out: ["Timed out", "超时"],
  outcome_lost: ["Lost", "丢失"],
  outcome_cancelled: ["Cancelled", "已取消"],
  priority_high: ["high", "高"],
  priority_low: ["low", "低"],
  page_of: ["{0}–{1} of {2}", "{0}–{1}，共 {2}"],
  newer: ["Earlier in line", "上一页"],
  older: ["Later in line", "下一页"],
  close: ["Close", "关闭"],
  previous: ["Previous", "上一张"],
  next: ["Next", "下一张"],
  original: ["Open the original", "打开原图"],
  open_picture: ["Open: {0}", "打开：{0}"],
  refused: ["That did not work: {0}", "操作失败：{0}"],
  done_pause: ["{0} takes nothing new.", "{0} 不再接受新任务。"],
  ago: ["{0} ago", "{0}前"],
  now: ["just now", "刚刚"],
};

const KEPT = "comfybridge-language";

export const language = { now: kept() };

function kept() {
  const chosen = localStorage.getItem(KEPT);
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function choose(tag) {
  localStorage.setItem(KEPT, tag);
  language.now = tag;
}

/** A sentence, with its values put in. */
export function t(name, ...values) {
  const both = WORDS[name];
  const text = both ? both[language.now === "zh" ? 1 : 0] : name;
  return values.reduce((so_far, value, number) => so_far.replace(`{${number}}`, () => String(value)), text);
}

export const has = (name) => name in WORDS;

const locale = () => (language.now === "zh" ? "zh-CN" : "en");

export const count = (value) => new Intl.NumberFormat(locale()).format(value);

export const percent = (value) =>
  new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: value > 0.99 && value < 1 ? 1 : 0 }).format(value);

/** 4.2s, 3m, 2h: as much as one wants to know. */
export function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const [unit, size] = seconds < 90 ? ["second", 1] : seconds < 5400 ? ["minute", 60] : seconds < 172800 ? ["hour", 3600] : ["day", 86400];
  const value = seconds / size;
  const maximumFractionDigits = unit === "second" && value < 10 ? 1 : 0;
  const unitDisplay = language.now === "zh" ? "short" : "narrow";
  return new Intl.NumberFormat(locale(), { style: "unit", unit, unitDisplay, maximumFractionDigits }).format(Math.max(0, value));
}

export function ago(moment) {
  const seconds = (Date.now() - Date.parse(moment)) / 1000;
  return seconds < 5 ? t("now") : t("ago", time(Math.round(seconds)));
}

// Before the Admin UI's own scripts: who may see its page need not log in again, and it shows the farm that serves it.

const { session } = document.currentScript.dataset;
localStorage.setItem("session_id", session);
localStorage.setItem("server_url", location.origin);
localStorage.setItem("path", "/socket.io");
localStorage.setItem("namespace", "/admin");
localStorage.setItem("parser", "default");

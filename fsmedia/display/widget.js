
const fsmStage = (root, message, buffers) => {
  const stage = document.createElement("div");
  stage.className = "fsm-stage";
  stage.setAttribute("role", "dialog");
  stage.setAttribute("aria-modal", "true");
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  let address = "";
  const end = () => {
    if (address) URL.revokeObjectURL(address);
    stage.remove();
  };
  close.addEventListener("click", end);
  stage.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    end();
  });
  let seen;
  if (message.error) {
    seen = document.createElement("p");
    seen.textContent = message.error;
  } else if (message.tag === "text") {
    seen = document.createElement("pre");
    seen.textContent = new TextDecoder().decode(buffers[0]);
  } else {
    address = URL.createObjectURL(new Blob([buffers[0]], { type: message.type }));
    const tags = { image: "img", audio: "audio", video: "video" };
    seen = document.createElement(tags[message.tag] || "img");
    if (message.tag !== "image") seen.controls = true;
    seen.src = address;
  }
  stage.append(seen, close);
  root.append(stage);
  close.focus();
};

export default {
  render({ model, el }) {
    el.innerHTML = model.get("html");
    const root = el.querySelector(".fsm-gallery");
    fsmStart(root);
    root.addEventListener("click", (event) => {
      const asked = event.target.closest(".fsm-full");
      if (!asked) return;
      asked.disabled = true;
      model.send({ n: Number(asked.dataset.n) });
    });
    const answer = (message, buffers) => {
      const asked = root.querySelector(`.fsm-full[data-n="${Number(message.n)}"]`);
      if (asked) asked.disabled = false;
      fsmStage(root, message, buffers);
    };
    model.on("msg:custom", answer);
    return () => model.off("msg:custom", answer);
  },
};

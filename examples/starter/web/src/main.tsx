import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Account } from "./account";
import { Notes } from "./notes";
import "./style.css";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <header>
      <h1>Notes</h1>
      <Account />
    </header>
    <main>
      <Notes />
    </main>
  </StrictMode>,
);

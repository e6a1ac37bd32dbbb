import { ConnectError, createClient } from "@connectrpc/connect";
import { createTransport } from "gatehouse-browser/connect";
import { useSession } from "gatehouse-browser/react";
import { useCallback, useEffect, useState } from "react";
import { type Note, NoteService } from "./gen/notes/v1/notes_pb";

const client = createClient(NoteService, createTransport());

export function Notes() {
  const signedIn = useSession().status === "signed-in";
  const [notes, setNotes] = useState<Note[]>([]);
  const [problem, setProblem] = useState("");

  /** Makes a change, if one is given, and shows the notes after it, or why it failed. */
  const update = useCallback(async (change?: () => Promise<unknown>) => {
    try {
      await change?.();
      setNotes((await client.listNotes({})).notes);
      setProblem("");
    } catch (error) {
      setProblem(ConnectError.from(error).rawMessage);
    }
  }, []);
  useEffect(() => void update(), [update]);

  return (
    <>
      {signedIn && (
        <form
          action={(form) => update(() => client.addNote({ text: String(form.get("text")) }))}
        >
          <label>
            New note <input name="text" maxLength={280} />
          </label>{" "}
          <button>Add</button>
        </form>
      )}
      {problem && <p role="alert">{problem}</p>}
      <ul>
        {notes.map((note) => (
          <li key={note.id}>
            {note.text} <small>by {note.author}</small>{" "}
            {signedIn && <button onClick={() => update(() => client.deleteNote({ id: note.id }))}>Delete</button>}
          </li>
        ))}
      </ul>
    </>
  );
}

import { expect, test } from "@playwright/test";

test("a moderator adds a note and deletes it", async ({ page }) => {
  const text = `Note ${Date.now()}`;
  await page.goto("/api/auth/login?login_hint=as:moderator"); // signs in without a page
  await page.getByLabel("New note").fill(text);
  await page.getByRole("button", { name: "Add" }).click();
  const note = page.getByRole("listitem").filter({ hasText: text });
  await note.getByRole("button", { name: "Delete" }).click();
  await expect(note).toHaveCount(0);
});

/** The claims of a person, as /api/auth/me tells them. */
export type User = {
  sub: string;
  name?: string;
  nickname?: string;
  email?: string;
  picture?: string;
};

/** The claims of a user, as /api/auth/me returns them. */
export type User = {
  sub: string;
  name?: string;
  nickname?: string;
  email?: string;
  picture?: string;
};

// Package blobs owns files in the streams of google.api.HttpBody: [Serve] sends one
// to a caller of a method that downloads, and [Receive] reads one from a method
// that uploads. It leaves to the service where files are stored, and who may
// have them; gateway and bff make HTTP of the streams.
//
// A download supports ranges, If-Range, entity tags and file names. Files are
// attachments, unless their content is audio. An upload has a limit, and an error
// for each stream that breaks off, so that no part of a file is taken for all of
// it. Both hold one message at a time in memory, whatever the length of the file.
package blobs

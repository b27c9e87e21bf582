/** Files dropped anywhere on the page, or pasted. */

/** Hand every dropped or pasted file on; the page shows while something is held over it. */
export function bindDrop(onFiles: (files: File[]) => void): void {
  let depth = 0;
  const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false;
  const show = (isOver: boolean): void => {
    document.body.classList.toggle('is-dropping', isOver);
  };

  window.addEventListener('dragenter', (event) => {
    if (!holdsFiles(event)) return;
    depth += 1;
    show(true);
  });
  window.addEventListener('dragleave', () => {
    depth = Math.max(0, depth - 1);
    show(depth > 0);
  });
  window.addEventListener('dragover', (event) => {
    if (holdsFiles(event)) event.preventDefault();
  });
  window.addEventListener('drop', (event) => {
    depth = 0;
    show(false);
    if (!holdsFiles(event)) return;
    event.preventDefault();
    onFiles([...(event.dataTransfer?.files ?? [])]);
  });
  window.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) onFiles(files);
  });
}
